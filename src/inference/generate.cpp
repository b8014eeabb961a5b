#include "switchyard/inference/generate.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include "switchyard/core/error.h"
#include "switchyard/model/kv_cache.h"
#include "switchyard/ops/device.h"

namespace switchyard::inference {
namespace {

model::Batch one_sequence(std::span<const std::int32_t> ids, std::int64_t first_position) {
  const auto num_tokens = static_cast<std::int64_t>(ids.size());
  std::vector<std::int64_t> positions(ids.size());
  std::iota(positions.begin(), positions.end(), first_position);
  model::Batch batch;
  batch.token_T = at::tensor(std::vector<std::int64_t>(ids.begin(), ids.end()), at::kLong);
  batch.position_T = at::tensor(positions, at::kLong);
  batch.num_positions = first_position + num_tokens;
  batch.sequence_offset = {0, num_tokens};
  batch.sequence_offset_B1 = at::tensor(batch.sequence_offset, at::kInt);
  batch.token_idx_T = batch.position_T;
  return batch;
}

// Experts per token of a forward pass, mean over MoE layers.
std::vector<double> mean_experts(const std::vector<model::LayerRoute>& routes,
                                 std::int64_t num_tokens) {
  std::vector<double> experts(static_cast<std::size_t>(num_tokens), 0.0);
  for (const model::LayerRoute& route : routes) {
    const at::Tensor num_experts_T = route.routing.token_offset_T1.diff().to(at::kCPU, at::kDouble);
    const double* k = num_experts_T.const_data_ptr<double>();
    for (std::size_t t = 0; t < experts.size(); ++t) {
      experts[t] += k[t] / static_cast<double>(routes.size());
    }
  }
  return experts;
}

// The window of tokens that the model sees, and what the model says comes after it.
class Window {
 public:
  Window(model::Decoder& decoder, const GenerateOptions& options)
      : decoder_(decoder), options_(options) {
    reset_cache();
  }

  // Appends tokens; returns the experts that each of them got.
  std::vector<double> append(std::span<const std::int32_t> ids) {
    std::vector<double> experts;
    while (!ids.empty()) {
      if (num_tokens() == options_.sequence_length) forget_older_half();
      const auto room = static_cast<std::size_t>(options_.sequence_length - num_tokens());
      const auto chunk = ids.first(std::min(room, ids.size()));
      tokens_.insert(tokens_.end(), chunk.begin(), chunk.end());
      const std::vector<double> chunk_experts = compute(static_cast<std::int64_t>(chunk.size()));
      experts.insert(experts.end(), chunk_experts.begin(), chunk_experts.end());
      ids = ids.subspan(chunk.size());
    }
    return experts;
  }

  // Of the token after the window.
  [[nodiscard]] std::vector<double> logits() {
    const at::Tensor last_1H = hidden_TH_.narrow(0, hidden_TH_.size(0) - 1, 1);
    const at::Tensor logits_V =
        decoder_.head().logits(last_1H).to(at::kCPU, at::kDouble).reshape({-1});
    const double* begin = logits_V.const_data_ptr<double>();
    return {begin, begin + logits_V.numel()};
  }

  [[nodiscard]] bool moved() const { return moved_; }

 private:
  [[nodiscard]] std::int64_t num_tokens() const {
    return static_cast<std::int64_t>(tokens_.size());
  }

  void reset_cache() {
    if (!options_.use_cache) return;
    cache_ = std::make_unique<model::KvCache>(decoder_.config(), 1, options_.sequence_length,
                                              decoder_.precision());
  }

  void forget_older_half() {
    tokens_.erase(tokens_.begin(), tokens_.begin() + (num_tokens() + 1) / 2);
    reset_cache();
    if (!tokens_.empty()) (void)compute(num_tokens());
    moved_ = true;
  }

  // Runs the model over the last num_new tokens (without a cache over all of them).
  std::vector<double> compute(std::int64_t num_new) {
    const std::int64_t num_run = options_.use_cache ? num_new : num_tokens();
    const std::int64_t first = num_tokens() - num_run;
    const model::Batch batch =
        to_device(one_sequence(std::span(tokens_).subspan(static_cast<std::size_t>(first)), first),
                  decoder_.device());
    const model::TrunkOutput output =
        decoder_.forward(batch, {.step = options_.step, .training = false, .cache = cache_.get()});
    hidden_TH_ = output.hidden_TH;
    const std::vector<double> experts = mean_experts(output.routes, num_run);
    return {experts.end() - num_new, experts.end()};
  }

  model::Decoder& decoder_;
  const GenerateOptions& options_;
  std::vector<std::int32_t> tokens_;
  std::unique_ptr<model::KvCache> cache_;
  at::Tensor hidden_TH_;
  bool moved_ = false;
};

// Ids that stand for no text, and rows of the embedding beyond the vocabulary.
void forbid_silent_tokens(std::vector<double>& logits, const data::Tokenizer& tokenizer) {
  constexpr double kNever = -std::numeric_limits<double>::infinity();
  const auto end = tokenizer.separator_id();
  for (const auto& id : {tokenizer.padding_id(), tokenizer.unknown_id(), tokenizer.begin_id()}) {
    if (id.has_value() && id != end) logits.at(static_cast<std::size_t>(*id)) = kNever;
  }
  const auto vocab_size = static_cast<std::size_t>(tokenizer.vocab_size());
  if (vocab_size < logits.size()) logits.resize(vocab_size);
}

// The first rank chooses for all; when it cannot, none goes on.
std::int32_t choose_on_ranks(const RankShare& ranks, const std::function<std::int32_t()>& choose) {
  if (!ranks.of_first) return choose();
  constexpr std::int64_t kNone = -1;
  if (ranks.rank != 0) {
    const std::int64_t id = ranks.of_first(kNone);
    if (id == kNone) throw NonFiniteError("the first rank's output is not finite");
    return static_cast<std::int32_t>(id);
  }
  std::int32_t id = 0;
  try {
    id = choose();
  } catch (const NonFiniteError&) {
    (void)ranks.of_first(kNone);
    throw;
  }
  return static_cast<std::int32_t>(ranks.of_first(id));
}

}  // namespace

Generation generate(model::Decoder& decoder, const data::Tokenizer& tokenizer,
                    std::string_view prompt, const GenerateOptions& options,
                    const std::function<void(const GeneratedToken&)>& on_token) {
  SWITCHYARD_CHECK(options.sequence_length >= 2, "a window of {} tokens", options.sequence_length);
  const at::NoGradGuard no_grad;
  const auto end = tokenizer.separator_id();
  std::vector<std::int32_t> ids = tokenizer.encode(prompt);
  const std::size_t num_before = end.has_value() ? 1 : 0;
  if (end.has_value()) ids.insert(ids.begin(), *end);
  if (ids.empty()) {
    throw UsageError("the prompt has no tokens and the tokenizer no document separator",
                     "give a prompt that is not empty");
  }

  Window window(decoder, options);
  const std::vector<double> prompt_experts = window.append(ids);
  std::optional<std::int32_t> previous;
  const auto bytes_of = [&](std::int32_t id) {
    return tokenizer.bytes_of(id, std::exchange(previous, id));
  };
  for (std::size_t i = num_before; i < ids.size(); ++i) {
    const std::string_view bytes = bytes_of(ids[i]);
    if (!on_token) continue;
    on_token({.id = ids[i], .bytes = bytes, .is_prompt = true, .experts = prompt_experts[i]});
  }
  Generation result;
  while (result.num_tokens < options.max_tokens) {
    result.was_stopped = options.should_stop && options.should_stop();
    if (result.was_stopped) break;
    std::vector<double> logits = window.logits();
    forbid_silent_tokens(logits, tokenizer);
    const std::int32_t id = choose_on_ranks(options.ranks, [&] {
      return choose_token(logits, options.sampling, static_cast<std::uint64_t>(result.num_tokens));
    });
    if (end.has_value() && id == *end) {
      result.reached_end = true;
      break;
    }
    ++result.num_tokens;
    const std::string_view bytes = bytes_of(id);
    result.text += bytes;
    const std::vector<double> experts = window.append(std::span(&id, 1));
    if (on_token) {
      on_token({.id = id, .bytes = bytes, .is_prompt = false, .experts = experts.front()});
    }
  }
  result.window_moved = window.moved();
  return result;
}

}  // namespace switchyard::inference
