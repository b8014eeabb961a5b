// The decoder-only transformer: a causal trunk and a language-model head.
#pragma once

#include <cstdint>
#include <utility>

#include "switchyard/model/language_model.h"

namespace switchyard::model {

class Decoder final : public LanguageModel {
 public:
  // As LanguageModel.
  Decoder(const config::ModelConfig& config, std::int64_t sequence_length,
          const ops::PrecisionPolicy& precision, moe::ExpertPlacement placement = {})
      : LanguageModel(config, sequence_length, precision, /*causal=*/true, std::move(placement)) {}
};

}  // namespace switchyard::model
