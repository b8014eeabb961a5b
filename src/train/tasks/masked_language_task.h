// Pretraining an encoder: it guesses masked tokens of windows from what is before and behind them.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "switchyard/config/config.h"
#include "switchyard/data/masking.h"
#include "switchyard/data/sample_source.h"
#include "switchyard/model/encoder.h"
#include "switchyard/model/throughput.h"
#include "switchyard/train/task.h"

namespace switchyard::train {

struct MaskedData {
  // Window number `idx` >= 0, of which the first S - 2 tokens are used; epochs follow each other
  // without end.
  std::function<data::Sample(std::int64_t idx)> window;
  std::int64_t sequence_length = 0;  // S, with the special tokens at both ends
  data::SpecialTokens special;
  data::MaskingOptions masking;
  std::optional<data::Tokenizer> tokenizer = {};  // for whole words and for what is no text
  bool attend_across_documents = true;
};

// Windows as rows `cls TOKENS sep`. Unless attention goes across documents, each document of a row
// is a sequence of its own, with cls where its separator was.
[[nodiscard]] model::MicroBatch masked_batch(const MaskedData& data, std::int64_t first,
                                             std::int64_t count, std::int64_t sequence_idx);

class MaskedLanguageObjective final : public Objective {
 public:
  // The encoder must outlive this.
  MaskedLanguageObjective(model::Encoder& encoder, MaskedData data);
  [[nodiscard]] model::MicroBatch micro_batch(std::int64_t first, std::int64_t count,
                                              std::int64_t sequence_idx) const override;
  [[nodiscard]] Result forward(const model::MicroBatch& micro,
                               const model::ForwardContext& context) override;

 private:
  model::Encoder& encoder_;
  MaskedData data_;
};

class MaskedLanguageTask final : public Task {
 public:
  // `validation` may be nullptr: nothing is evaluated then. All must outlive this.
  MaskedLanguageTask(const config::Config& config, model::Encoder& encoder,
                     const data::SampleSource& training, const data::SampleSource* validation);

  [[nodiscard]] model::Model& model() override { return encoder_; }
  [[nodiscard]] Objective& objective() override { return objective_; }
  [[nodiscard]] bool can_evaluate() const override { return validation_ != nullptr; }
  // Loss and (pseudo-)perplexity over the positions of a mask that is the same for every run.
  [[nodiscard]] std::optional<telemetry::EvaluationRecord> evaluate(
      const EvaluationOptions& options) override;
  [[nodiscard]] bool can_sample() const override { return false; }
  [[nodiscard]] std::optional<std::string> sample(const EvaluationOptions& /*options*/) override {
    return std::nullopt;
  }
  [[nodiscard]] const data::Tokenizer& tokenizer() const override { return training_.tokenizer(); }
  [[nodiscard]] std::string data_fingerprint() const override { return training_.fingerprint(); }
  [[nodiscard]] std::vector<std::string> next_commands(const std::string& run) const override;
  [[nodiscard]] std::string describe_samples() const override;
  [[nodiscard]] std::string_view loss_name() const override { return "mlm"; }
  [[nodiscard]] double flops_per_token(double k) const override { return flops_.per_token(k); }

 private:
  [[nodiscard]] MaskedData data_of(const data::SampleSource& source, std::uint64_t seed) const;

  const config::Config& config_;
  model::Encoder& encoder_;
  const data::SampleSource& training_;
  const data::SampleSource* validation_;
  MaskedLanguageObjective objective_;
  model::TrainingFlops flops_;
};

}  // namespace switchyard::train
