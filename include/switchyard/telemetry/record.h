// What one line of metrics.jsonl holds: plain numbers with stable keys.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "switchyard/format/json.h"

namespace switchyard::telemetry {

// Expert use of one MoE layer, or of all of them together, over a window of steps.
struct RoutingRecord {
  double experts_per_token = 0.0;         // mean realised k over (token, layer) pairs
  std::int64_t experts_per_token_p5 = 0;  // nearest-rank percentiles over the same pairs
  std::int64_t experts_per_token_p95 = 0;
  double router_entropy = 0.0;       // nats per (token, layer) pair
  double max_violation = 0.0;        // largest load / mean load - 1; of the worst layer
  std::int64_t dead_experts = 0;     // experts without a token in the window, over all layers
  double dead_fraction = 0.0;        // of all experts
  double single_expert_share = 0.0;  // of the (token, layer) pairs with exactly one expert
  double router_grad_norm = 0.0;     // of the routers' weights, before clipping; mean over steps
  // What the router goes by, such as "p", at the last step; mean over the layers that have it.
  std::map<std::string, double> gauges = {};
};

struct LossTerms {
  double load_balance = 0.0;
  double dynamic = 0.0;
  double z = 0.0;
  double l1 = 0.0;  // of routing weights, where the router keeps them small
};

struct LayerRecord {
  std::int64_t layer = 0;
  RoutingRecord routing = {};
  LossTerms losses = {};                       // raw
  std::vector<double> load = {};               // [E] share of the window's rows
  std::vector<std::int64_t> k_histogram = {};  // [E + 1] tokens of the window with k experts
};

// What a rank of several did in the window; means per step. The slow one waits least.
struct RankRecord {
  std::int64_t rank = 0;
  double wait_ms = 0.0;       // in collectives, moving and waiting
  double exchanged_mb = 0.0;  // of its tensors in collectives, sent and received
};

// One logged step; statistics cover the steps since the last record. Non-finite numbers become
// null in JSON.
struct StepRecord {
  std::int64_t step = 0;
  std::int64_t tokens = 0;  // trained on since the run began
  double loss = 0.0;        // the objective: lm_loss + all weighted losses
  double lm_loss = 0.0;     // nats per token
  LossTerms losses = {};    // raw, mean over MoE layers
  LossTerms weighted = {};  // coefficient times loss, summed over MoE layers
  double learning_rate = 0.0;
  double grad_norm = 0.0;  // before clipping
  double tokens_per_second = 0.0;
  double step_ms = 0.0;
  std::optional<double> mfu = {};  // share of the peak, 0 to 1; none when no peak is known
  std::uint64_t memory_bytes = 0;
  std::optional<RoutingRecord> routing = {};  // none in a model without MoE layers
  std::int64_t skipped_steps = 0;             // since the run began
  std::vector<LayerRecord> layers = {};
  std::map<std::string, double> phase_ms = {};  // mean per step
  std::vector<RankRecord> ranks = {};           // none where there is one
};

// Tokens that are alike in something, and how many experts they got.
struct TokenGroup {
  double from = 0.0;  // what they are alike in: least and largest
  double to = 0.0;
  std::int64_t tokens = 0;
  double loss = 0.0;                           // mean, nats
  std::vector<double> experts_per_token = {};  // mean, by MoE layer
  // Of loss and experts of all layers together, among these tokens alone; none where one of them is
  // the same for all, or the group is of a loss.
  std::optional<double> pearson = {};
};

// How much the number of experts goes with a loss, from -1 to 1; none where one of the two is the
// same for all tokens.
struct LossCorrelation {
  std::optional<double> pearson = {};
  std::optional<double> spearman = {};  // of the ranks
};

struct ExpertsByDifficulty {
  // With the loss of the token that a position predicts, and of the one that is there.
  LossCorrelation with_loss = {};
  LossCorrelation with_input_loss = {};
};

// Do harder tokens get more experts? Of an evaluation's tokens, with the loss of what they predict.
struct DifficultyRecord {
  ExpertsByDifficulty all = {};  // of the experts of all MoE layers together
  std::vector<std::int64_t> layers = {};
  std::vector<ExpertsByDifficulty> by_layer = {};
  std::vector<TokenGroup> by_loss = {};           // tenths of the tokens, easiest first
  std::vector<TokenGroup> by_word_position = {};  // 1 = first piece of a word; the last: all later
  std::vector<TokenGroup> by_frequency = {};      // times a piece occurs among the tokens
};

struct EvaluationRecord {
  std::int64_t step = 0;
  std::string split = "validation";
  double loss = 0.0;  // the task's alone, e.g. nats per token
  std::optional<double> perplexity = {};
  // None when the split's bytes are not known, or not all kept by the tokenizer.
  std::optional<double> bits_per_byte = {};
  // Does the tokenizer give the split's text back? None where that is not known, as in older files.
  std::optional<bool> lossless = {};
  std::optional<double> experts_per_token = {};
  std::map<std::string, double> metrics = {};  // of a task that has others, e.g. "accuracy"
  std::int64_t tokens = 0;
  double seconds = 0.0;
  // None where every token gets as many experts, or nobody looked.
  std::optional<DifficultyRecord> difficulty = {};
  // Of a model that train.calibrate gave one, after its last evaluation: an event of its own,
  // "calibration", so that evaluations stay comparable.
  std::optional<double> temperature = {};
};

// The evaluation has no bits per byte because the tokenizer loses bytes.
[[nodiscard]] inline bool is_lossy(const EvaluationRecord& record) {
  return record.lossless == false;
}

[[nodiscard]] format::Json to_json(const StepRecord& record);
[[nodiscard]] format::Json to_json(const EvaluationRecord& record);
[[nodiscard]] format::Json to_json(const DifficultyRecord& record);

}  // namespace switchyard::telemetry
