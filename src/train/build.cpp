#include "switchyard/train/build.h"

#include <algorithm>
#include <utility>

#include "switchyard/config/load.h"
#include "switchyard/core/error.h"
#include "switchyard/core/host.h"
#include "switchyard/core/log.h"
#include "switchyard/core/terminal.h"
#include "switchyard/data/special_tokens.h"
#include "switchyard/model/parameter_counts.h"
#include "switchyard/ops/device.h"
#include "switchyard/ops/op_span.h"
#include "switchyard/train/model_files.h"

namespace switchyard::train {
namespace {

void warn_about_settings(const config::Config& config, const data::SampleSource& training) {
  const double epochs = count_epochs(config, training.num_samples_per_epoch());
  if (epochs > 20.0) {
    log::warning("the run reads its {} training windows {:.0f} times: it may learn them by heart",
                 training.num_samples_per_epoch(), epochs);
  }
  const HostFacts host = read_host_facts();
  if (config.train.precision == "bf16" && config.train.device == "cpu" && !host.cpu_flags.empty() &&
      !host.has_bf16_products()) {
    log::warning(
        "this CPU has no bf16 instructions: train.precision=fp32 is faster and more precise");
  }
}

// What no change of the batch makes smaller does not fit: said before hours of swapping, or before
// the system kills the process.
void check_memory(const config::Config& config) {
  const model::ParameterCounts counts = model::count_parameters(config.model);
  const double experts = static_cast<double>(counts.per_expert) *
                         static_cast<double>(config.model.moe.num_experts) *
                         static_cast<double>(counts.num_moe_layers);
  const double parameters = static_cast<double>(counts.total) - experts +
                            experts / static_cast<double>(config.parallel.expert);
  if (config.train.device != "cpu") return;
  const ops::PrecisionPolicy policy = ops::precision_policy(config.train.precision, at::kCPU);
  const auto compute = static_cast<double>(c10::elementSize(policy.compute));
  const auto accumulation = static_cast<double>(c10::elementSize(policy.accumulation()));
  // Masters, gradients and two moments; weights where they are no masters.
  const double needed =
      parameters * (4.0 * accumulation + (compute == accumulation ? 0.0 : compute));
  const HostFacts host = read_host_facts();
  const std::uint64_t there =
      std::min(host.memory_bytes, host.memory_limit_bytes.value_or(kUnlimited));
  if (there == 0 || needed <= static_cast<double>(there)) return;
  throw OutOfMemoryError(
      fmt::format("the model's weights, gradients and moments take {}, and this machine has {}",
                  format_bytes(static_cast<std::uint64_t>(std::min(needed, 0x1p63))),
                  format_bytes(there)),
      "choose a smaller model; `switchyard plan` shows what takes how much");
}

at::Device device_to_use(const std::string& name) {
  const at::Device device = ops::device_of(name);
  if (device.is_cuda()) ops::show_spans_to_gpu_profilers();
  return device;
}

}  // namespace

config::DataConfig windows_of(const config::Config& config) {
  config::DataConfig data = config.data;
  if (!config.model.is_causal()) data.sequence_length -= 2;
  return data;
}

double count_epochs(const config::Config& config, std::int64_t windows_per_epoch) {
  return static_cast<double>(config.train.steps) *
         static_cast<double>(config.train.global_batch_size) /
         static_cast<double>(windows_per_epoch);
}

void fill_vocab_size(config::Config& config, const data::Tokenizer& tokenizer) {
  const std::int64_t num_special = config.model.is_causal() ? 0 : data::SpecialTokens::kCount;
  const std::int64_t size = tokenizer.vocab_size() + num_special;
  if (config.model.vocab_size == 0) config.model.vocab_size = size;
  if (config.model.vocab_size < size) {
    throw UsageError(
        fmt::format(
            "model.vocab_size is {}, but the data's tokenizer has {} pieces{}",
            config.model.vocab_size, tokenizer.vocab_size(),
            num_special == 0 ? "" : fmt::format(" and an encoder {} special tokens", num_special)),
        "leave model.vocab_size out to take the tokenizer's");
  }
}

Build build(const config::Config& given, moe::ExpertPlacement placement) {
  Build parts{.config = given,
              .training = data::SampleSource(windows_of(given), given.run.seed),
              .validation = data::SampleSource::validation(windows_of(given)),
              .decoder = nullptr,
              .encoder = nullptr};
  config::Config& config = parts.config;
  fill_vocab_size(config, parts.training.tokenizer());
  warn_about_settings(config, parts.training);
  if (parts.validation->num_samples_per_epoch() == 0) {
    log::warning("the validation split has no full window of {} tokens: nothing is evaluated",
                 parts.training.sequence_length());
    parts.validation.reset();
  }
  if (config.train.deterministic) ops::make_deterministic();
  const at::Device device = device_to_use(config.train.device);
  check_memory(config);
  const ops::PrecisionPolicy policy = ops::precision_policy(config.train.precision, device);
  const std::int64_t length = config.data.sequence_length;
  if (config.model.is_causal()) {
    parts.decoder =
        std::make_unique<model::Decoder>(config.model, length, policy, std::move(placement));
    parts.decoder->initialize(config.run.seed);
  } else {
    parts.encoder =
        std::make_unique<model::Encoder>(config.model, length, policy, std::move(placement));
    parts.encoder->initialize(config.run.seed);
  }
  return parts;
}

config::Config config_of(const checkpoint::Checkpoint& checkpoint) {
  try {
    return config::load(checkpoint.config(), {}).config;
  } catch (const UsageError& error) {
    throw DataError(error.what(), "the checkpoint was written by another version of switchyard");
  }
}

LoadedModel load_model(const std::filesystem::path& path, const std::string& precision,
                       const std::string& device) {
  const auto checkpoint = checkpoint::Checkpoint::open(path);
  config::Config config = config_of(checkpoint);
  if (!config.model.is_causal()) {
    throw UsageError(fmt::format("{}: the model is an encoder: it guesses masked tokens and "
                                 "neither predicts nor writes text",
                                 checkpoint.folder().string()),
                     "fine-tune it for a task: switchyard finetune --from it; what it is worth is "
                     "in the run's evaluations");
  }
  if (!precision.empty()) config.train.precision = precision;
  const ops::PrecisionPolicy policy =
      ops::precision_policy(config.train.precision, device_to_use(device));
  data::Tokenizer tokenizer = data::Tokenizer::load(checkpoint.tokenizer());
  if (config.model.vocab_size < tokenizer.vocab_size()) {
    throw DataError(fmt::format("{}: the model knows {} tokens, its tokenizer {}",
                                checkpoint.folder().string(), config.model.vocab_size,
                                tokenizer.vocab_size()));
  }
  (void)model::count_parameters(config.model);  // refuses sizes beyond 64 bits
  auto decoder =
      std::make_unique<model::Decoder>(config.model, config.data.sequence_length, policy);
  load_weights(*decoder, checkpoint.weights());
  load_router_state(*decoder, checkpoint.router_state());
  return {.folder = checkpoint.folder(),
          .config = std::move(config),
          .tokenizer = std::move(tokenizer),
          .decoder = std::move(decoder),
          .step = checkpoint.step()};
}

}  // namespace switchyard::train
