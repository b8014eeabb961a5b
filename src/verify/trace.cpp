#include "verify/trace.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <iterator>
#include <memory>
#include <mutex>
#include <numeric>
#include <optional>
#include <utility>

#include "switchyard/comm/beside.h"
#include "switchyard/comm/threads.h"
#include "switchyard/core/error.h"
#include "switchyard/core/philox.h"
#include "switchyard/data/sample_source.h"
#include "switchyard/data/special_tokens.h"
#include "switchyard/model/decoder.h"
#include "switchyard/model/encoder.h"
#include "switchyard/ops/device.h"
#include "switchyard/ops/precision.h"
#include "switchyard/parallel/expert_parallel.h"
#include "switchyard/parallel/rank_groups.h"
#include "switchyard/train/build.h"
#include "switchyard/train/model_files.h"
#include "switchyard/train/trainer.h"
#include "train/tasks/masked_language_task.h"
#include "train/tasks/next_token_task.h"

namespace switchyard::verify {
namespace {

data::Sample random_window(const config::Config& config, std::int64_t idx) {
  data::Sample sample;
  const std::int64_t num_special = config.model.is_causal() ? 0 : data::SpecialTokens::kCount;
  for (std::int64_t i = 0; i <= config.data.sequence_length; ++i) {
    const PhiloxCounter random =
        philox(philox_key(config.run.seed),
               {static_cast<std::uint32_t>(idx), static_cast<std::uint32_t>(i), 0, 0});
    sample.token.push_back(
        static_cast<std::int32_t>(random[0] % (config.model.vocab_size - num_special)));
  }
  return sample;
}

// Notes which experts every token gets, and passes everything on.
class Recorder final : public train::Objective {
 public:
  Recorder(train::Objective& objective, std::map<TokenOfLayer, std::vector<std::int32_t>>& experts)
      : objective_(objective), experts_(experts) {}

  [[nodiscard]] model::MicroBatch micro_batch(std::int64_t first, std::int64_t count,
                                              std::int64_t sequence_idx) const override {
    return objective_.micro_batch(first, count, sequence_idx);
  }

  [[nodiscard]] Result forward(const model::MicroBatch& micro,
                               const model::ForwardContext& context) override {
    Result result = objective_.forward(micro, context);
    const at::Tensor token_idx = micro.batch.token_idx_T.to(at::kCPU);
    const auto* idx = token_idx.const_data_ptr<std::int64_t>();
    for (const model::LayerRoute& route : result.routes) {
      const at::Tensor offset = route.routing.expert_offset_E1.to(at::kCPU);
      const at::Tensor row_token = route.routing.row_token_N.to(at::kCPU);
      const auto* first_row = offset.const_data_ptr<std::int32_t>();
      const auto* token = row_token.const_data_ptr<std::int32_t>();
      for (std::int32_t expert = 0; expert < route.routing.num_experts; ++expert) {
        for (std::int32_t row = first_row[expert]; row < first_row[expert + 1]; ++row) {
          experts_[{context.step, route.layer, idx[token[row]]}].push_back(expert);
        }
      }
    }
    return result;
  }

 private:
  train::Objective& objective_;
  std::map<TokenOfLayer, std::vector<std::int32_t>>& experts_;
};

// Of what this rank updates, unless another rank has the same: zeros where it is another's.
std::map<std::string, at::Tensor> gradients_of(const train::Trainer& trainer,
                                               parallel::RankGroups& groups) {
  std::map<std::string, at::Tensor> gradients;
  for (const optim::Slice& slice : trainer.optimizer().slices()) {
    const ops::Parameter& parameter = *slice.parameter;
    if (!trainer.shares_out_optimizer() && !groups.writes(parameter)) continue;
    at::Tensor flat = at::zeros({parameter.numel()}, slice.gradient().options());
    flat.narrow(0, slice.begin, slice.count).copy_(slice.gradient());
    for (const ops::LogicalTensor& part : parameter.parts) {
      gradients[part.name] = flat.narrow(0, part.offset, part.held().count);
    }
  }
  return gradients;
}

// Adds what is in both.
void add_up(std::map<std::string, at::Tensor>& sums, std::map<std::string, at::Tensor>& more) {
  for (auto& [name, tensor] : more) {
    const auto [found, is_new] = sums.try_emplace(name, tensor);
    if (!is_new) found->second = found->second + tensor;
  }
}

struct Training {
  std::unique_ptr<model::Model> model;
  std::unique_ptr<train::Objective> objective;
};

// What `pretrain` would train, on these windows. `tokenizer`: nullptr for random tokens.
Training make_training(const config::Config& config, const ops::PrecisionPolicy& policy,
                       parallel::RankGroups& groups,
                       std::function<data::Sample(std::int64_t)> window,
                       const data::Tokenizer* tokenizer) {
  const std::int64_t length = config.data.sequence_length;
  moe::ExpertPlacement placement = parallel::expert_placement(groups, config.model.moe.num_experts,
                                                              config.parallel.exchange_chunks);
  Training training;
  if (config.model.is_causal()) {
    train::NextTokenData data{.window = std::move(window),
                              .attend_across_documents = config.data.attend_across_documents};
    if (tokenizer != nullptr) data.separator = tokenizer->separator_id();
    auto decoder =
        std::make_unique<model::Decoder>(config.model, length, policy, std::move(placement));
    training.objective = std::make_unique<train::NextTokenObjective>(*decoder, std::move(data));
    training.model = std::move(decoder);
    return training;
  }
  const std::int64_t num_pieces = tokenizer != nullptr
                                      ? tokenizer->vocab_size()
                                      : config.model.vocab_size - data::SpecialTokens::kCount;
  train::MaskedData data{
      .window = std::move(window),
      .sequence_length = length,
      .special = data::SpecialTokens::behind(num_pieces),
      .masking = {.rate = config.data.mask_rate,
                  .whole_words = config.data.mask_whole_words && tokenizer != nullptr,
                  .seed = config.run.seed},
      .attend_across_documents = config.data.attend_across_documents};
  if (tokenizer != nullptr) data.tokenizer = *tokenizer;
  auto encoder =
      std::make_unique<model::Encoder>(config.model, length, policy, std::move(placement));
  training.objective = std::make_unique<train::MaskedLanguageObjective>(*encoder, std::move(data));
  training.model = std::move(encoder);
  return training;
}

// One rank's part; `trace` is its own.
void train_rank(const config::Config& config, comm::Communicator& world, std::int64_t num_steps,
                bool random_tokens, Trace& trace) {
  parallel::RankGroups groups(world, config.parallel.expert);
  const ops::PrecisionPolicy policy =
      ops::precision_policy(config.train.precision, ops::device_of(config.train.device));
  std::optional<data::SampleSource> source;
  std::function<data::Sample(std::int64_t)> window = [&config](std::int64_t idx) {
    return random_window(config, idx);
  };
  if (!random_tokens) {
    source.emplace(train::windows_of(config), config.run.seed);
    window = [&source](std::int64_t idx) { return source->get(idx); };
  }
  Training training = make_training(config, policy, groups, std::move(window),
                                    source ? &source->tokenizer() : nullptr);
  model::Model& model = *training.model;
  model.initialize(config.run.seed);
  Recorder recorder(*training.objective, trace.experts);
  train::Trainer trainer(config, model, recorder, groups);
  for (std::int64_t step = 0; step < num_steps; ++step) {
    trace.steps.push_back(trainer.train_step());
    trace.gradients.push_back(gradients_of(trainer, groups));
  }
  for (const checkpoint::NamedTensor& part : train::named_weights(model)) {
    trace.parameters[part.name] = part.tensor.clone();
  }
}

// While it lives, ranks share the cores instead of each taking all.
class ThreadShare {
 public:
  explicit ThreadShare(std::int64_t num_ranks) : before_(at::get_num_threads()) {
    at::set_num_threads(static_cast<int>(std::max<std::int64_t>(1, before_ / num_ranks)));
  }
  ~ThreadShare() { at::set_num_threads(before_); }
  ThreadShare(const ThreadShare&) = delete;
  ThreadShare& operator=(const ThreadShare&) = delete;

 private:
  int before_;
};

// NaN is the largest of all.
void raise_to(Difference& most, double relative, const std::string& where) {
  if (std::isnan(most.relative) || relative <= most.relative) return;
  most = {.relative = relative, .where = where};
}

double relative_of_numbers(double expected, double actual) {
  constexpr double kSmallest = 1e-3;
  return std::abs(actual - expected) / std::max(std::abs(expected), kSmallest);
}

double relative_in_norm(const at::Tensor& expected, const at::Tensor& actual) {
  const auto norm = [](const at::Tensor& tensor) {
    return at::linalg_vector_norm(tensor.to(at::kCPU, at::kDouble)).item<double>();
  };
  const double difference = norm(actual.to(at::kDouble) - expected.to(at::kDouble));
  const double size = norm(expected);
  return difference == 0.0 ? 0.0 : difference / size;
}

void compare_steps(const telemetry::StepSums& expected, const telemetry::StepSums& actual,
                   LayoutResult& result) {
  const std::string step = fmt::format("step {}", expected.step);
  const auto loss = [&](double a, double b, const std::string& where) {
    raise_to(result.loss, relative_of_numbers(a, b), where);
  };
  loss(expected.lm_loss, actual.lm_loss, step);
  for (std::size_t i = 0; i < expected.layers.size(); ++i) {
    const telemetry::LossTerms& a = expected.layers[i].losses;
    const telemetry::LossTerms& b = actual.layers[i].losses;
    const std::string of_layer = fmt::format("layer {}, {}", expected.layers[i].layer, step);
    loss(a.load_balance, b.load_balance, "load balance of " + of_layer);
    loss(a.dynamic, b.dynamic, "dynamic loss of " + of_layer);
    loss(a.z, b.z, "z loss of " + of_layer);
  }
  raise_to(result.clip_norm, relative_of_numbers(expected.grad_norm, actual.grad_norm), step);
}

// A token that got no expert has no entry.
void count_flips(const Trace& alone, const Trace& trace, LayoutResult& result) {
  const std::vector<std::int32_t> none;
  const auto experts_in = [&none](const Trace& of, const TokenOfLayer& token) -> const auto& {
    const auto found = of.experts.find(token);
    return found == of.experts.end() ? none : found->second;
  };
  for (const auto& [token, experts] : alone.experts) {
    const std::vector<std::int32_t>& others = experts_in(trace, token);
    std::vector<std::int32_t> flipped;
    std::set_symmetric_difference(experts.begin(), experts.end(), others.begin(), others.end(),
                                  std::back_inserter(flipped));
    result.num_flipped += std::ssize(flipped);
    result.num_pairs += std::ssize(experts);
  }
  for (const auto& [token, experts] : trace.experts) {
    if (experts_in(alone, token).empty()) result.num_flipped += std::ssize(experts);
  }
}

}  // namespace

Trace train_in_layout(const config::Config& config, const Layout& layout,
                      const VerifyOptions& options, bool random_tokens) {
  config::Config of_rank = config;
  of_rank.parallel.expert = layout.expert;
  of_rank.train.micro_batch_size = config.train.micro_batch_size / layout.num_ranks;
  of_rank.parallel.exchange_chunks = std::gcd(
      config.parallel.exchange_chunks, config.model.moe.num_experts / of_rank.parallel.expert);
  std::vector<Trace> traces(static_cast<std::size_t>(layout.num_ranks));
  const ThreadShare share(layout.num_ranks);
  comm::run_ranks(layout.num_ranks, [&](comm::Communicator& ranks) {
    std::unique_ptr<comm::Communicator> world = ranks.split(0, "layout " + layout.name());
    if (options.wrap) world = options.wrap(std::move(world));
    const std::unique_ptr<comm::Communicator> overlapping = comm::beside(*world);
    train_rank(of_rank, *overlapping, options.steps, random_tokens,
               traces[static_cast<std::size_t>(ranks.rank())]);
  });
  // Every rank knows the sums and the routers; each has parameters and tokens of its own.
  Trace all = std::move(traces[0]);
  for (std::size_t rank = 1; rank < traces.size(); ++rank) {
    all.parameters.merge(traces[rank].parameters);
    all.experts.merge(traces[rank].experts);
    SWITCHYARD_CHECK(traces[rank].experts.empty(), "two ranks of {} had the same token",
                     layout.name());
    for (std::size_t step = 0; step < all.gradients.size(); ++step) {
      add_up(all.gradients[step], traces[rank].gradients[step]);
    }
  }
  return all;
}

LayoutResult compare(const Layout& layout, const Trace& alone, const Trace& trace,
                     const Tolerances& tolerances) {
  LayoutResult result{.layout = layout};
  for (std::size_t i = 0; i < alone.steps.size(); ++i) {
    compare_steps(alone.steps[i], trace.steps[i], result);
    for (const auto& [name, gradient] : alone.gradients[i]) {
      raise_to(result.gradient, relative_in_norm(gradient, trace.gradients[i].at(name)),
               fmt::format("{}, step {}", name, i + 1));
    }
  }
  for (const auto& [name, value] : alone.parameters) {
    const auto found = trace.parameters.find(name);
    SWITCHYARD_CHECK(found != trace.parameters.end(), "no rank of {} holds {}", layout.name(),
                     name);
    raise_to(result.parameter, relative_in_norm(value, found->second), name);
  }
  count_flips(alone, trace, result);
  result.is_within = result.loss.relative <= tolerances.loss &&
                     result.clip_norm.relative <= tolerances.loss &&
                     result.gradient.relative <= tolerances.parameter &&
                     result.parameter.relative <= tolerances.parameter;
  return result;
}

}  // namespace switchyard::verify
