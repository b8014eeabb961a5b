// The encoder: a trunk whose tokens see their whole sequence, and a head that guesses masked ones.
#pragma once

#include <cstdint>
#include <utility>

#include "switchyard/model/language_model.h"

namespace switchyard::model {

class Encoder final : public LanguageModel {
 public:
  // As LanguageModel.
  Encoder(const config::ModelConfig& config, std::int64_t sequence_length,
          const ops::PrecisionPolicy& precision, moe::ExpertPlacement placement = {})
      : LanguageModel(config, sequence_length, precision, /*causal=*/false, std::move(placement)) {}
};

}  // namespace switchyard::model
