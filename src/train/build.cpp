#include "switchyard/train/build.h"

#include <c10/core/CachingDeviceAllocator.h>

#include <algorithm>
#include <cstdint>
#include <utility>

#include "switchyard/checkpoint/calibration.h"
#include "switchyard/config/ignored.h"
#include "switchyard/config/load.h"
#include "switchyard/core/error.h"
#include "switchyard/core/host.h"
#include "switchyard/core/log.h"
#include "switchyard/core/ranks.h"
#include "switchyard/core/text.h"
#include "switchyard/data/special_tokens.h"
#include "switchyard/model/parameter_counts.h"
#include "switchyard/ops/device.h"
#include "switchyard/ops/op_span.h"
#include "switchyard/ops/precision.h"
#include "switchyard/train/model_files.h"
#include "train/state_memory.h"

namespace switchyard::train {
namespace {

// What is asked of evaluations and cannot come of so few; the first one is always the best so far.
void warn_of_seldom_evaluations(const config::TrainConfig& train) {
  const std::int64_t every = train.evaluate_every;
  const std::int64_t count = every == 0 ? 1 : (train.steps + every - 1) / every;
  if (train.early_stop_patience >= count) {
    log::warning(
        "train.early_stop_patience={} stops nothing: the run is evaluated {}; it takes a "
        "train.evaluate_every of {} or less",
        train.early_stop_patience, count == 1 ? "only at its end" : counted(count, "time"),
        std::max<std::int64_t>(1, train.steps / (train.early_stop_patience + 1)));
  }
  if (train.keep_best && count == 1) {
    log::warning(
        "train.keep_best keeps the last checkpoint: the run is evaluated only at its end; "
        "train.evaluate_every=N evaluates in between");
  }
}

void warn_about_settings(const config::Config& config, const data::SampleSource& training) {
  const double epochs = count_epochs(config, training.num_samples_per_epoch());
  if (epochs > 20.0) {
    log::warning("the run reads its {} training windows {:.0f} times: it may learn them by heart",
                 training.num_samples_per_epoch(), epochs);
  }
  warn_of_seldom_evaluations(config.train);
  for (const std::string& line : config::ignored_settings(config)) log::warning("{}", line);
}

// They take part in training, but not in what it is judged by.
void warn_of_sets_without_validation(const data::SampleSource& validation) {
  const std::vector<std::int64_t> num_windows = validation.num_windows_of_sets();
  for (std::size_t set = 0; set < num_windows.size(); ++set) {
    if (num_windows[set] > 0) continue;
    log::warning(
        "data.blend: {} has no full window of {} tokens in its validation split: "
        "evaluations say nothing of it",
        printable_line(validation.sets()[set]->folder().string()), validation.sequence_length());
  }
}

at::Device device_to_use(const std::string& name) {
  const at::Device device = ops::device_of(name);
  if (device.is_cuda()) ops::show_spans_to_gpu_profilers();
  return device;
}

std::uint64_t gpu_bytes(at::Device device) {
  c10::DeviceAllocator* const memory = c10::getDeviceAllocator(device.type());
  return memory->getMemoryInfo(device.index()).second;
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

void check_room_for_state(const config::Config& config, at::Device device) {
  const RankEnvironment ranks = read_rank_environment();
  if (!device.is_cuda()) return check_state_fits(config, read_host_facts(), ranks);
  check_state_fits_gpu(config, ranks, gpu_bytes(device));
}

void check_room_for_weights(const config::Config& config, at::Device device) {
  if (!device.is_cuda()) return check_weights_fit(config, read_host_facts());
  check_weights_fit_gpu(config, gpu_bytes(device));
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
    log::warning("the validation split has no full window of {} tokens: nothing is evaluated{}",
                 parts.training.sequence_length(),
                 config.train.calibrate ? ", and there is no temperature to fit" : "");
    parts.validation.reset();
  } else {
    warn_of_sets_without_validation(*parts.validation);
  }
  if (config.train.deterministic) ops::make_deterministic();
  const at::Device device = device_to_use(config.train.device);
  check_room_for_state(config, device);
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

LoadedModel load_model(const std::filesystem::path& path, const LoadOptions& options) {
  const auto checkpoint = checkpoint::Checkpoint::open(path);
  config::Config config = config_of(checkpoint);
  if (!config.model.is_causal()) {
    throw UsageError(fmt::format("{}: the model is an encoder: it guesses masked tokens and "
                                 "neither predicts nor writes text",
                                 checkpoint.folder().string()),
                     "fine-tune it for a task: switchyard finetune --from it; what it is worth is "
                     "in the run's evaluations");
  }
  const config::TrainConfig trained = config.train;
  if (!options.precision.empty()) config.train.precision = options.precision;
  // Experts were computed in a way that another device or precision may not know.
  if (trained.precision != config.train.precision || trained.device != options.device) {
    config.model.moe.compute = "auto";
  }
  const at::Device device = device_to_use(options.device);
  const ops::PrecisionPolicy policy = ops::precision_policy(config.train.precision, device);
  data::Tokenizer tokenizer = data::Tokenizer::load(checkpoint.tokenizer());
  if (config.model.vocab_size < tokenizer.vocab_size()) {
    throw DataError(fmt::format("{}: the model knows {} tokens, its tokenizer {}",
                                checkpoint.folder().string(), config.model.vocab_size,
                                tokenizer.vocab_size()));
  }
  check_room_for_weights(config, device);
  auto decoder =
      std::make_unique<model::Decoder>(config.model, config.data.sequence_length, policy);
  load_weights(*decoder, checkpoint.weights());
  load_router_state(*decoder, checkpoint.router_state());
  if (options.is_calibrated) {
    decoder->head().set_temperature(checkpoint::temperature_of(checkpoint.folder()));
  }
  return {.folder = checkpoint.folder(),
          .config = std::move(config),
          .tokenizer = std::move(tokenizer),
          .decoder = std::move(decoder),
          .step = checkpoint.step()};
}

}  // namespace switchyard::train
