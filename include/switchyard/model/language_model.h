// A trunk with a language-model head; which tokens see which makes it a decoder or an encoder.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "switchyard/config/config.h"
#include "switchyard/model/language_model_head.h"
#include "switchyard/model/model.h"

namespace switchyard::model {

class LanguageModel : public Model {
 public:
  [[nodiscard]] const LanguageModelHead& head() const { return head_; }
  [[nodiscard]] LanguageModelHead& head() { return head_; }

 protected:
  // config.vocab_size must be set. Nothing is allocated when precision.device is kMeta.
  LanguageModel(const config::ModelConfig& config, std::int64_t sequence_length,
                const ops::PrecisionPolicy& precision, bool causal, moe::ExpertPlacement placement)
      : Model(config, {.sequence_length = sequence_length,
                       .precision = precision,
                       .causal = causal,
                       .placement = std::move(placement)}),
        head_(config, trunk().embedding(), precision) {}

 private:
  [[nodiscard]] std::vector<ops::Parameter*> head_parameters() override {
    return head_.parameters();
  }

  LanguageModelHead head_;
};

}  // namespace switchyard::model
