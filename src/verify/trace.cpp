#include "verify/trace.h"

#include <ATen/Parallel.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <functional>
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

// What the ranks of a layout leave behind: each a trace of its own but for the gradients, to which
// all add, one at a time. Every rank has slices of them, which as whole tensors would be many times
// the model.
struct Recording {
  std::vector<Trace> of_rank;
  std::mutex adding;
  std::vector<std::map<std::string, at::Tensor>> gradients;  // by step
};

// Adds what this rank updates, unless another rank has the same.
void add_gradients(const train::Trainer& trainer, parallel::RankGroups& groups,
                   std::map<std::string, at::Tensor>& sums) {
  for (const optim::Slice& slice : trainer.optimizer().slices()) {
    const ops::Parameter& parameter = *slice.parameter;
    if (!trainer.shares_out_optimizer() && !groups.writes(parameter)) continue;
    const at::Tensor gradient = slice.gradient();
    for (const ops::LogicalTensor& part : parameter.parts) {
      const std::int64_t numel = part.held().count;
      const std::int64_t begin = std::max(slice.begin, part.offset);
      const std::int64_t end = std::min(slice.begin + slice.count, part.offset + numel);
      if (begin >= end) continue;
      at::Tensor& sum = sums[part.name];
      if (!sum.defined()) sum = at::zeros({numel}, gradient.options());
      sum.narrow(0, begin - part.offset, end - begin)
          .add_(gradient.narrow(0, begin - slice.begin, end - begin));
    }
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

// One rank's part.
void train_rank(const config::Config& config, comm::Communicator& world, std::int64_t num_steps,
                bool random_tokens, Recording& recording) {
  Trace& trace = recording.of_rank.at(static_cast<std::size_t>(world.rank()));
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
    {
      const std::lock_guard lock(recording.adding);
      add_gradients(trainer, groups, recording.gradients.at(static_cast<std::size_t>(step)));
    }
    const auto is_written = [&](const ops::Parameter& each) { return groups.writes(each); };
    auto& parameters = trace.parameters.emplace_back();
    for (const checkpoint::NamedTensor& part : train::named_weights(model, is_written)) {
      parameters[part.name] = part.tensor.clone();
    }
    auto& router_state = trace.router_state.emplace_back();
    for (const checkpoint::NamedTensor& state : train::named_router_state(model)) {
      router_state[state.name] = {state.tensor.clone()};
    }
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

}  // namespace

Trace train_in_layout(const config::Config& config, const Layout& layout,
                      const VerifyOptions& options, bool random_tokens) {
  config::Config of_rank = config;
  of_rank.parallel.expert = layout.expert;
  of_rank.train.micro_batch_size = config.train.micro_batch_size / layout.num_ranks;
  of_rank.parallel.exchange_chunks = std::gcd(
      config.parallel.exchange_chunks, config.model.moe.num_experts / of_rank.parallel.expert);
  Recording recording;
  recording.of_rank.resize(static_cast<std::size_t>(layout.num_ranks));
  recording.gradients.resize(static_cast<std::size_t>(options.steps));
  const ThreadShare share(layout.num_ranks);
  comm::run_ranks(layout.num_ranks, [&](comm::Communicator& ranks) {
    std::unique_ptr<comm::Communicator> world = ranks.split(0, "layout " + layout.name());
    if (options.wrap) world = options.wrap(std::move(world));
    const std::unique_ptr<comm::Communicator> overlapping = comm::beside(*world);
    train_rank(of_rank, *overlapping, options.steps, random_tokens, recording);
  });
  // Every rank knows the sums; each has parameters, tokens and router state of its own.
  std::vector<Trace>& traces = recording.of_rank;
  Trace all = std::move(traces[0]);
  all.gradients = std::move(recording.gradients);
  for (std::size_t rank = 1; rank < traces.size(); ++rank) {
    all.experts.merge(traces[rank].experts);
    SWITCHYARD_CHECK(traces[rank].experts.empty(), "two ranks of {} had the same token",
                     layout.name());
    for (std::size_t step = 0; step < all.gradients.size(); ++step) {
      all.parameters[step].merge(traces[rank].parameters[step]);
      for (auto& [name, states] : traces[rank].router_state[step]) {
        all.router_state[step].at(name).push_back(std::move(states.front()));
      }
    }
  }
  return all;
}

}  // namespace switchyard::verify
