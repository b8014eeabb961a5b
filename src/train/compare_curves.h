// The curve of a run that a comparison is about.
#pragma once

#include <span>

#include "switchyard/train/compare.h"

namespace switchyard::train {

struct Curve {
  std::span<const double> tokens;
  std::span<const double> flops;
  std::span<const double> value;
};

// Views of `progress`.
[[nodiscard]] inline Curve curve_of(const Progress& progress, Measure::Kind kind) {
  switch (kind) {
    case Measure::Kind::kBitsPerByte:
      return {progress.evaluation_tokens, progress.evaluation_flops, progress.bits_per_byte};
    case Measure::Kind::kValidationLoss:
      return {progress.evaluation_tokens, progress.evaluation_flops, progress.validation_loss};
    case Measure::Kind::kTrainingLoss:
      break;
  }
  return {progress.tokens, progress.flops, progress.lm_loss};
}

}  // namespace switchyard::train
