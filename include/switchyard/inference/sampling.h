// Chooses the next token from the model's logits.
#pragma once

#include <cstdint>
#include <span>

namespace switchyard::inference {

struct SamplingOptions {
  double temperature = 0.8;  // 0 = always the most probable token
  std::int64_t top_k = 0;    // keep the k most probable tokens; 0 = all
  double nucleus = 1.0;      // then the fewest whose probabilities sum to this
  std::uint64_t seed = 0;
};

// Draw number `draw` of the text with this seed: a pure function of its arguments. Ties go to the
// lower id; a logit of -infinity is never chosen. Throws NonFiniteError when a logit is NaN or
// +infinity, or none is left.
[[nodiscard]] std::int32_t choose_token(std::span<const double> logits,
                                        const SamplingOptions& options, std::uint64_t draw);

}  // namespace switchyard::inference
