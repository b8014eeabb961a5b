// The encoder: a trunk whose tokens see their whole sequence, and a head that guesses masked ones.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "switchyard/config/config.h"
#include "switchyard/model/language_model_head.h"
#include "switchyard/model/model.h"

namespace switchyard::model {

class Encoder final : public Model {
 public:
  // config.vocab_size must be set. Nothing is allocated when precision.device is kMeta.
  Encoder(const config::ModelConfig& config, std::int64_t sequence_length,
          const ops::PrecisionPolicy& precision, moe::ExpertPlacement placement = {})
      : Model(config, {.sequence_length = sequence_length,
                       .precision = precision,
                       .causal = false,
                       .placement = std::move(placement)}),
        head_(config, trunk().embedding(), precision) {}

  [[nodiscard]] const LanguageModelHead& head() const { return head_; }

 private:
  [[nodiscard]] std::vector<ops::Parameter*> head_parameters() override {
    return head_.parameters();
  }

  LanguageModelHead head_;
};

}  // namespace switchyard::model
