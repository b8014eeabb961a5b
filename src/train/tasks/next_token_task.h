// Pretraining a decoder: every token of a window predicts the next one.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "switchyard/config/config.h"
#include "switchyard/data/sample_source.h"
#include "switchyard/inference/evaluate.h"
#include "switchyard/model/decoder.h"
#include "switchyard/model/throughput.h"
#include "switchyard/train/task.h"

namespace switchyard::train {

struct NextTokenData {
  // Window number `idx` >= 0 of S + 1 tokens; epochs follow each other without end.
  std::function<data::Sample(std::int64_t idx)> window;
  std::optional<std::int32_t> separator = {};
  bool attend_across_documents = true;
};

class NextTokenObjective final : public Objective {
 public:
  // The decoder must outlive this.
  NextTokenObjective(model::Decoder& decoder, NextTokenData data);
  [[nodiscard]] model::MicroBatch micro_batch(std::int64_t first, std::int64_t count,
                                              std::int64_t sequence_idx) const override;
  [[nodiscard]] Result forward(const model::MicroBatch& micro,
                               const model::ForwardContext& context) override;

 private:
  model::Decoder& decoder_;
  NextTokenData data_;
};

class NextTokenTask final : public Task {
 public:
  // `validation` may be nullptr: nothing is evaluated then. All must outlive this.
  NextTokenTask(const config::Config& config, model::Decoder& decoder,
                const data::SampleSource& training, const data::SampleSource* validation);

  [[nodiscard]] model::Model& model() override { return decoder_; }
  [[nodiscard]] Objective& objective() override { return objective_; }
  [[nodiscard]] bool can_evaluate() const override { return validation_ != nullptr; }
  [[nodiscard]] std::optional<telemetry::EvaluationRecord> evaluate(
      const EvaluationOptions& options) override;
  [[nodiscard]] std::optional<telemetry::EvaluationRecord> calibrate(
      const EvaluationOptions& options) override;
  [[nodiscard]] bool can_sample() const override;  // with a prompt or a separator to start from
  // A continuation of train.sample_prompt.
  [[nodiscard]] std::optional<std::string> sample(const EvaluationOptions& options) override;
  [[nodiscard]] const data::Tokenizer& tokenizer() const override { return training_.tokenizer(); }
  [[nodiscard]] std::string data_fingerprint() const override { return training_.fingerprint(); }
  [[nodiscard]] std::vector<std::string> next_commands(const std::string& run) const override;
  [[nodiscard]] std::string describe_samples() const override;
  [[nodiscard]] std::string_view loss_name() const override { return "lm"; }
  [[nodiscard]] double flops_per_token(double k) const override { return flops_.per_token(k); }

 private:
  [[nodiscard]] inference::ValidationOptions validation_options(
      const EvaluationOptions& options) const;

  const config::Config& config_;
  model::Decoder& decoder_;
  const data::SampleSource& training_;
  const data::SampleSource* validation_;
  NextTokenObjective objective_;
  model::TrainingFlops flops_;
};

}  // namespace switchyard::train
