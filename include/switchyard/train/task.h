// What a run trains its model to do. The run loop (when to save, log, evaluate, sample, stop) and
// the trainer (what a step is) know tasks by these two interfaces alone. Three tasks shape them:
//
//                 samples              labels            loss           evaluation
//   next token    windows of S + 1     every next token  cross-entropy  loss, bits per byte
//   masked token  sequences, some of   masked positions  cross-entropy  perplexity over the
//                 their tokens masked                                   positions of a fixed mask
//   GLUE          pairs of sentences   one per sequence  cross-entropy  the task's metrics, one
//                                                        or squared     of which is judged
//
// Next-token pretraining is src/train/tasks/next_token_task.h.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "switchyard/data/tokenizer.h"
#include "switchyard/inference/rank_share.h"
#include "switchyard/model/batch.h"
#include "switchyard/model/model.h"
#include "switchyard/telemetry/record.h"

namespace switchyard::train {

// What a step of training minimises. It knows nothing of ranks, steps or micro-steps: the trainer
// says which samples are this rank's, and divides sums by the step's number of labels.
class Objective {
 public:
  virtual ~Objective() = default;

  // `count` samples from number `first` >= 0 of an endless order (epochs follow each other), packed
  // side by side, on the host; fewer, or none, where numbers stand for no sample, as behind the
  // last row of an epoch that does not fill its last step. What a sample holds, masks included, is
  // a function of the run's seed and its number alone. `sequence_idx`: index of the first one in
  // the step's global batch, for dropout. Called from another thread than forward(), by one at a
  // time.
  [[nodiscard]] virtual model::MicroBatch micro_batch(std::int64_t first, std::int64_t count,
                                                      std::int64_t sequence_idx) const = 0;

  struct Result {
    at::Tensor loss_sum;                    // scalar, over the micro-batch's labels; differentiable
    std::vector<model::LayerRoute> routes;  // of the model's MoE layers
  };
  // `micro` is on the model's device.
  [[nodiscard]] virtual Result forward(const model::MicroBatch& micro,
                                       const model::ForwardContext& context) = 0;
};

struct EvaluationOptions {
  std::int64_t step = 0;  // training steps done
  inference::RankShare ranks = {};
  // All ranks ask as often.
  std::function<bool()> should_stop = {};
  // Called with what is done so far and what there is in all.
  std::function<void(std::int64_t done, std::int64_t total)> progress = {};
};

class Task {
 public:
  virtual ~Task() = default;

  [[nodiscard]] virtual model::Model& model() = 0;
  [[nodiscard]] virtual Objective& objective() = 0;

  [[nodiscard]] virtual bool can_evaluate() const = 0;
  // Everything of the record but `step` and `seconds`. None when should_stop said so.
  [[nodiscard]] virtual std::optional<telemetry::EvaluationRecord> evaluate(
      const EvaluationOptions& options) = 0;
  // What decides which evaluation is the best: less is better. Not a number: no best.
  [[nodiscard]] virtual double judged(const telemetry::EvaluationRecord& record) const {
    return record.loss;
  }
  // Is that a number of which more is better, negated?
  [[nodiscard]] virtual bool judges_negated() const { return false; }
  // Fits the model's temperature (inference/calibrate.h) to what evaluate() reads, and evaluates
  // with it; the record has the temperature. None where should_stop said so, or a task has no use
  // for it.
  [[nodiscard]] virtual std::optional<telemetry::EvaluationRecord> calibrate(
      const EvaluationOptions& /*options*/) {
    return std::nullopt;
  }
  [[nodiscard]] virtual bool can_sample() const = 0;
  // Something to look at; made by all of the ranks together. None where should_stop said so.
  [[nodiscard]] virtual std::optional<std::string> sample(const EvaluationOptions& options) = 0;

  // For checkpoints: what turns text into this task's tokens, and what tells whether data is the
  // same as before a resume.
  [[nodiscard]] virtual const data::Tokenizer& tokenizer() const = 0;
  [[nodiscard]] virtual std::string data_fingerprint() const = 0;

  // What to do with a finished run, as command lines.
  [[nodiscard]] virtual std::vector<std::string> next_commands(const std::string& run) const = 0;
  // For people: "19276 training windows of 128 tokens", and the name of the loss on a step line.
  [[nodiscard]] virtual std::string describe_samples() const = 0;
  [[nodiscard]] virtual std::string_view loss_name() const = 0;
  // Forward and backward, of a token whose MoE layers choose k experts on average; for the MFU.
  [[nodiscard]] virtual double flops_per_token(double k) const = 0;
};

}  // namespace switchyard::train
