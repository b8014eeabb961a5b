#include "switchyard/inference/evaluate.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/stack.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <span>
#include <vector>

#include "inference/split_passes.h"
#include "switchyard/core/error.h"
#include "switchyard/ops/device.h"

namespace switchyard::inference {
namespace {

struct TextWindow {
  std::int64_t begin = 0;          // of the window's inputs in the token stream
  std::int64_t num_uncounted = 0;  // labels that earlier windows counted
};

// num_inputs inputs, each with the next token of the stream as its label, into windows of `length`.
std::vector<TextWindow> text_windows(std::int64_t num_inputs, std::int64_t length,
                                     std::int64_t stride) {
  std::vector<TextWindow> windows;
  std::int64_t counted = 0;
  while (counted < num_inputs) {
    const std::int64_t end = counted == 0 ? length : std::min(counted + stride, num_inputs);
    windows.push_back({.begin = end - length, .num_uncounted = counted - (end - length)});
    counted = end;
  }
  return windows;
}

std::int64_t bytes_of_labels(const model::Batch& batch, const data::Tokenizer& tokenizer) {
  const auto* label = batch.label_T.const_data_ptr<std::int64_t>();
  const auto* token = batch.token_T.const_data_ptr<std::int64_t>();
  std::size_t num_bytes = 0;
  for (std::int64_t t = 0; t < batch.num_tokens(); ++t) {
    if (label[t] < 0) continue;
    num_bytes +=
        tokenizer.bytes_of(static_cast<std::int32_t>(label[t]), static_cast<std::int32_t>(token[t]))
            .size();
  }
  return static_cast<std::int64_t>(num_bytes);
}

// [L, T] int32 on the host.
at::Tensor num_experts_on_host(const std::vector<model::LayerRoute>& routes,
                               std::int64_t num_tokens) {
  if (routes.empty()) return at::empty({0, num_tokens}, at::kInt);
  std::vector<at::Tensor> num_experts_LT;
  num_experts_LT.reserve(routes.size());
  for (const model::LayerRoute& route : routes) {
    num_experts_LT.push_back(route.routing.token_offset_T1.diff());
  }
  return at::stack(num_experts_LT).to(at::kCPU);  // one wait for the device
}

// Every token needs one before it that it is predicted from.
void refuse_too_few_tokens(std::size_t num_ids, bool has_separator) {
  if (num_ids > (has_separator ? 0U : 1U)) return;
  throw DataError(num_ids == 0
                      ? "the text holds nothing that the tokenizer makes a token of: there "
                        "is nothing to predict"
                      : "the text is a single token, and the tokenizer has no separator "
                        "that could stand before it: there is nothing to predict it from",
                  "give a text of several words");
}

TokenDifficulty nothing_counted(const model::Decoder& decoder) {
  const config::ModelConfig& model = decoder.config();
  return {model.vocab_size, model.moe.num_experts, model.moe.layers};
}

}  // namespace

std::int64_t tokens_per_pass(std::int64_t micro_batch_size, std::int64_t sequence_length) {
  return std::min(kMostTokensPerPass, micro_batch_size * sequence_length);
}

void LossSums::add(const LossSums& other) {
  nats += other.nats;
  num_tokens += other.num_tokens;
  num_expert_rows += other.num_expert_rows;
  num_moe_layers = std::max(num_moe_layers, other.num_moe_layers);
}

double LossSums::loss() const {
  return num_tokens == 0 ? 0.0 : nats / static_cast<double>(num_tokens);
}

std::optional<double> LossSums::experts_per_token() const {
  const std::int64_t num_pairs = num_tokens * num_moe_layers;
  if (num_pairs == 0) return std::nullopt;
  return static_cast<double>(num_expert_rows) / static_cast<double>(num_pairs);
}

std::optional<double> ValidationResult::bits_per_byte() const {
  if (!lossless || num_bytes == 0) return std::nullopt;
  return sums.nats / std::numbers::ln2 / static_cast<double>(num_bytes);
}

BatchEvaluation evaluate_batch(model::Decoder& decoder, const model::Batch& host_batch,
                               std::int64_t step) {
  const at::NoGradGuard no_grad;
  const model::Batch batch = to_device(host_batch, decoder.device());
  const model::TrunkOutput output = decoder.forward(batch, {.step = step, .training = false});
  const at::Tensor loss_T = decoder.head().loss_per_token(output.hidden_TH, batch.label_T);
  const at::Tensor is_counted_T = host_batch.label_T.ge(0);
  BatchEvaluation result{
      .sums = {},
      .tokens = {.loss_T = loss_T.to(at::kCPU, at::kDouble),
                 .num_experts_LT = num_experts_on_host(output.routes, batch.num_tokens())}};
  LossSums& sums = result.sums;
  // Rounded as the training's sum is.
  sums.nats = loss_T.sum(at::kDouble).to(loss_T.scalar_type()).item<double>();
  sums.num_tokens = is_counted_T.sum().item<std::int64_t>();
  sums.num_moe_layers = static_cast<std::int64_t>(output.routes.size());
  sums.num_expert_rows = result.tokens.num_experts_LT.mul(is_counted_T).sum().item<std::int64_t>();
  return result;
}

std::optional<ValidationResult> evaluate_validation(model::Decoder& decoder,
                                                    const data::SampleSource& split,
                                                    const ValidationOptions& options) {
  const SplitPasses passes(split, options);
  const data::Tokenizer& tokenizer = split.tokenizer();
  ValidationResult result{.sums = {}, .difficulty = nothing_counted(decoder)};
  for (const data::PreparedData* set : split.sets()) {
    result.lossless = result.lossless && set->sidecar().lossless;
  }
  const auto sums = compute_passes(passes.shared(5), [&](std::int64_t pass, std::span<double> row) {
    const model::Batch batch = passes.batch(pass);
    const BatchEvaluation evaluation = evaluate_batch(decoder, batch, options.step);
    const LossSums& of_pass = evaluation.sums;
    if (options.ranks.owns(pass)) result.difficulty.add(batch, evaluation.tokens, tokenizer);
    row[0] = of_pass.nats;
    row[1] = static_cast<double>(of_pass.num_tokens);  // whole numbers below 2^53
    row[2] = static_cast<double>(of_pass.num_expert_rows);
    row[3] = static_cast<double>(of_pass.num_moe_layers);
    row[4] = static_cast<double>(bytes_of_labels(batch, tokenizer));
  });
  if (!sums.has_value()) return std::nullopt;
  result.difficulty.sum_over(options.ranks);
  for (std::int64_t pass = 0; pass < sums->size(0); ++pass) {
    const auto* row = (*sums)[pass].const_data_ptr<double>();
    result.sums.add({.nats = row[0],
                     .num_tokens = static_cast<std::int64_t>(row[1]),
                     .num_expert_rows = static_cast<std::int64_t>(row[2]),
                     .num_moe_layers = static_cast<std::int64_t>(row[3])});
    result.num_bytes += static_cast<std::int64_t>(row[4]);
  }
  return result;
}

TextEvaluation evaluate_text(model::Decoder& decoder, const data::Tokenizer& tokenizer,
                             std::string_view text, const TextEvaluationOptions& options) {
  const std::int64_t window = options.sequence_length;
  const std::int64_t stride =
      options.stride > 0 ? options.stride : std::max<std::int64_t>(1, window / 2);
  if (options.stride < 0 || stride > window) {
    throw UsageError(
        fmt::format("a stride of {} tokens does not fit windows of {}", options.stride, window),
        fmt::format("--stride takes 1 to {}", window));
  }
  if (text.empty()) throw DataError("the text is empty: there is nothing to predict");

  const std::vector<std::int32_t> ids = tokenizer.encode(text);
  refuse_too_few_tokens(ids.size(), tokenizer.separator_id().has_value());
  std::vector<std::int32_t> stream;
  LossSums sums;
  if (tokenizer.separator_id().has_value()) {
    stream.push_back(*tokenizer.separator_id());
  } else {
    sums.nats = std::log(static_cast<double>(tokenizer.vocab_size()));
    sums.num_tokens = 1;
  }
  stream.insert(stream.end(), ids.begin(), ids.end());

  const auto num_inputs = static_cast<std::int64_t>(stream.size()) - 1;
  const std::int64_t length = std::min(window, num_inputs);
  const std::vector<TextWindow> windows = text_windows(num_inputs, length, stride);
  const auto per_batch =
      static_cast<std::size_t>(windows_per_pass(options.tokens_per_pass, length));
  TextEvaluation result{.difficulty = nothing_counted(decoder)};
  if (options.progress) options.progress(0, num_inputs);
  for (std::size_t first = 0; first < windows.size(); first += per_batch) {
    const std::size_t end = std::min(windows.size(), first + per_batch);
    std::vector<data::Sample> tokens;
    BatchOptions batch_options;
    for (std::size_t i = first; i < end; ++i) {
      const auto begin = stream.begin() + windows[i].begin;
      tokens.push_back({.token = {begin, begin + length + 1}, .document_start = {}});
      batch_options.num_uncounted.push_back(windows[i].num_uncounted);
    }
    const model::Batch batch = make_batch(tokens, batch_options).batch;
    const BatchEvaluation evaluation = evaluate_batch(decoder, batch, options.step);
    sums.add(evaluation.sums);
    result.difficulty.add(batch, evaluation.tokens, tokenizer);
    if (options.progress) options.progress(sums.num_tokens, num_inputs);
  }

  result.loss = sums.loss();
  result.perplexity = std::exp(result.loss);
  result.num_tokens = sums.num_tokens;
  result.num_bytes = static_cast<std::int64_t>(text.size());
  result.experts_per_token = sums.experts_per_token();
  result.lossless = tokenizer.lossless() || tokenizer.decode(ids) == text;
  if (result.lossless) {
    result.bits_per_byte = sums.nats / std::numbers::ln2 / static_cast<double>(text.size());
  }
  result.sequence_length = window;
  result.stride = stride;
  return result;
}

}  // namespace switchyard::inference
