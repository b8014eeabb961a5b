// Fine-tuning a classifier on one GLUE task, as the trainer and the run loop see it.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "glue/row_order.h"
#include "switchyard/config/config.h"
#include "switchyard/glue/encoding.h"
#include "switchyard/glue/tasks.h"
#include "switchyard/inference/rank_share.h"
#include "switchyard/model/classifier.h"
#include "switchyard/model/throughput.h"
#include "switchyard/train/task.h"

namespace switchyard::glue {

class ClassificationObjective final : public train::Objective {
 public:
  // All must outlive this.
  ClassificationObjective(model::Classifier& classifier, const EncodedSet& rows, const Task& task,
                          std::int64_t max_length, const RowOrder& order);
  [[nodiscard]] model::MicroBatch micro_batch(std::int64_t first, std::int64_t count,
                                              std::int64_t sequence_idx) const override;
  // Cross-entropy, or squared error of scores, summed over rows.
  [[nodiscard]] Result forward(const model::MicroBatch& micro,
                               const model::ForwardContext& context) override;

 private:
  model::Classifier& classifier_;
  const EncodedSet& rows_;
  const Task& task_;
  std::int64_t max_length_;
  RowOrder order_;
};

// How the run of this config reads the task's training rows.
[[nodiscard]] RowOrder row_order(const config::Config& config, const EncodedSet& rows);

// Of training on these rows.
[[nodiscard]] model::TrainingFlops training_flops(const config::Config& config,
                                                  const EncodedSet& rows);

// What a classifier says of a file.
struct Predictions {
  std::vector<double> value;  // the class, or the score, of each row
  double loss = 0.0;          // mean over rows
  std::int64_t num_tokens = 0;
  std::map<std::int64_t, std::int64_t> expert_rows_of_layer;

  // Mean over tokens (and layers); none without MoE layers.
  [[nodiscard]] std::optional<double> experts_per_token() const;
  [[nodiscard]] std::map<std::int64_t, double> experts_per_token_of_layer() const;
};

struct PassOptions {
  std::int64_t step = 0;  // training steps done
  // A pass has the rows of one micro-step of all ranks at most, counted by the longest.
  std::int64_t micro_batch_size = 1;
  // Each takes its part of the passes, and all get all predictions, bit for bit those of one rank.
  inference::RankShare ranks = {};
  std::function<bool()> should_stop = {};  // asked by all ranks as often
  std::function<void(std::int64_t done, std::int64_t total)> progress = {};
};
// In the order of the rows; none when should_stop said so.
[[nodiscard]] std::optional<Predictions> predict(model::Classifier& classifier, const Task& task,
                                                 const EncodedSet& rows, std::int64_t max_length,
                                                 const PassOptions& options);

struct TaskData {
  EncodedSet train;
  std::vector<EncodedSet> dev;  // as Task::dev
  data::Tokenizer tokenizer;
  std::string train_fingerprint;
  std::string dev_fingerprint;
};

class ClassificationTask final : public train::Task {
 public:
  // All must outlive this.
  ClassificationTask(const config::Config& config, model::Classifier& classifier,
                     const glue::Task& task, const TaskData& data);

  [[nodiscard]] model::Model& model() override { return classifier_; }
  [[nodiscard]] train::Objective& objective() override { return objective_; }
  [[nodiscard]] bool can_evaluate() const override { return true; }
  // Loss and metrics of the first dev file, metrics of the others with their suffix.
  [[nodiscard]] std::optional<telemetry::EvaluationRecord> evaluate(
      const train::EvaluationOptions& options) override;
  // The task's first metric, negated; not a number where it is none.
  [[nodiscard]] double judged(const telemetry::EvaluationRecord& record) const override;
  [[nodiscard]] bool judges_negated() const override { return true; }
  [[nodiscard]] bool can_sample() const override { return false; }
  [[nodiscard]] std::optional<std::string> sample(
      const train::EvaluationOptions& /*options*/) override {
    return std::nullopt;
  }
  [[nodiscard]] const data::Tokenizer& tokenizer() const override { return data_.tokenizer; }
  [[nodiscard]] std::string data_fingerprint() const override {
    return data_.train_fingerprint + "-" + data_.dev_fingerprint;
  }
  [[nodiscard]] std::vector<std::string> next_commands(const std::string& /*run*/) const override {
    return {};
  }
  [[nodiscard]] std::string describe_samples() const override;
  [[nodiscard]] std::string_view loss_name() const override { return "task"; }
  [[nodiscard]] double flops_per_token(double k) const override { return flops_.per_token(k); }

 private:
  const config::Config& config_;
  model::Classifier& classifier_;
  const glue::Task& task_;
  const TaskData& data_;
  ClassificationObjective objective_;
  model::TrainingFlops flops_;
};

}  // namespace switchyard::glue
