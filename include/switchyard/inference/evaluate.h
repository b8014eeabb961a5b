// Language-model loss without training: of a validation split, and of any text file as bits per
// byte.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>

#include "switchyard/data/sample_source.h"
#include "switchyard/data/tokenizer.h"
#include "switchyard/inference/batching.h"
#include "switchyard/inference/rank_share.h"
#include "switchyard/inference/token_difficulty.h"
#include "switchyard/model/decoder.h"

namespace switchyard::inference {

// Enough tokens to fill matrix products, few enough to stay near the caches.
inline constexpr std::int64_t kMostTokensPerPass = 4096;
// Of a model that was trained on micro-batches of that size: no more than those, so that what could
// be trained can be evaluated.
[[nodiscard]] std::int64_t tokens_per_pass(std::int64_t micro_batch_size,
                                           std::int64_t sequence_length);

// Additive over micro-batches. Only tokens whose label counts are in it.
struct LossSums {
  double nats = 0.0;
  std::int64_t num_tokens = 0;
  std::int64_t num_expert_rows = 0;  // over all MoE layers
  std::int64_t num_moe_layers = 0;

  void add(const LossSums& other);
  [[nodiscard]] double loss() const;  // nats per token; 0 without tokens
  // Realised k over (token, layer) pairs; none without MoE layers.
  [[nodiscard]] std::optional<double> experts_per_token() const;
};

struct BatchEvaluation {
  LossSums sums;
  TokenLosses tokens;
};

// One forward pass without dropout and without gradients of a batch on the host. `step` is the
// number of training steps done, for routers with a warm-up.
[[nodiscard]] BatchEvaluation evaluate_batch(model::Decoder& decoder, const model::Batch& batch,
                                             std::int64_t step);

struct ValidationOptions {
  bool attend_across_documents = true;
  std::int64_t max_tokens = 0;                        // 0 = the whole split
  std::int64_t tokens_per_pass = kMostTokensPerPass;  // at least one window is taken
  std::int64_t step = 0;
  RankShare ranks = {};  // passes are shared out; all have the result of one
  // Asked before every pass, by all ranks at the same time.
  std::function<bool()> should_stop = {};
  // Called with the windows done so far and in total.
  std::function<void(std::int64_t done, std::int64_t total)> progress = {};
};

struct ValidationResult {
  LossSums sums;
  TokenDifficulty difficulty;
  std::int64_t num_bytes = 0;  // of the text that the labels stand for
  bool lossless = true;        // the tokenizer gave back every document of the data

  // nats / ln 2 / bytes; none where bytes of the text were lost or there are none.
  [[nodiscard]] std::optional<double> bits_per_byte() const;
};

// The windows of the validation split in their order, each once. None when should_stop said so.
[[nodiscard]] std::optional<ValidationResult> evaluate_validation(model::Decoder& decoder,
                                                                  const data::SampleSource& split,
                                                                  const ValidationOptions& options);

struct TextEvaluationOptions {
  std::int64_t sequence_length = 0;  // S, the trained window
  std::int64_t stride = 0;           // labels counted per window, 1 to S; 0 = S / 2
  std::int64_t tokens_per_pass = kMostTokensPerPass;  // at least one window is taken
  std::int64_t step = 0;
  // Called with the labels counted so far and in total.
  std::function<void(std::int64_t done, std::int64_t total)> progress = {};
};

struct TextEvaluation {
  TokenDifficulty difficulty;
  double loss = 0.0;  // nats per token
  double perplexity = 0.0;
  // nats / ln 2 / bytes of the text. None when the tokenizer does not give this text back: what it
  // loses costs no nats, so the number would be too good and compare with nothing.
  std::optional<double> bits_per_byte = {};
  std::optional<double> experts_per_token = {};
  std::int64_t num_tokens = 0;
  std::int64_t num_bytes = 0;
  bool lossless = true;  // the tokenizer gives this text back
  std::int64_t sequence_length = 0;
  std::int64_t stride = 0;
};

// Predicts every token of `text` exactly once. Windows of S tokens overlap by S - stride, which is
// the least context of any token after the first window. The text begins after the document
// separator; with a tokenizer that has none, the first token costs log(vocabulary) nats.
// Throws DataError for an empty text and one that leaves no token to predict from another,
// UsageError for a stride outside 1 to S.
[[nodiscard]] TextEvaluation evaluate_text(model::Decoder& decoder,
                                           const data::Tokenizer& tokenizer, std::string_view text,
                                           const TextEvaluationOptions& options);

}  // namespace switchyard::inference
