// The curve of a run that a comparison is about.
#pragma once

#include <span>

#include "switchyard/compare/compare.h"

namespace switchyard::compare {

struct Curve {
  std::span<const double> tokens;
  std::span<const double> flops;
  std::span<const double> value;
};

// Views of `progress`.
[[nodiscard]] inline Curve curve_of(const Progress& progress, Figure::Kind kind) {
  switch (kind) {
    case Figure::Kind::kBitsPerByte:
      return {progress.evaluation_tokens, progress.evaluation_flops, progress.bits_per_byte};
    case Figure::Kind::kValidationLoss:
      return {progress.evaluation_tokens, progress.evaluation_flops, progress.validation_loss};
    case Figure::Kind::kTrainingLoss:
      break;
  }
  return {progress.tokens, progress.flops, progress.lm_loss};
}

}  // namespace switchyard::compare
