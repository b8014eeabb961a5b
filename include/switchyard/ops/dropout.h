// Dropout whose mask is a pure function of (seed, step, layer, site, token, element), so that it
// survives resume, recomputation and any layout.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace switchyard::ops {

struct DropoutPlace {
  std::uint64_t seed = 0;
  std::int64_t step = 0;
  std::int64_t layer = 0;  // 0xFFFFFF for the embedding
  std::int64_t site = 0;   // 0..255
};

// x_TH [T, H]; token_idx_T [T] int64 = index of the sequence in the global batch * S + position.
// Keeps an element with probability 1 - rate and divides it by that. Differentiable.
// Philox key = seed, counter = (step, layer << 8 | site, token index, element / 4).
[[nodiscard]] at::Tensor dropout(const at::Tensor& x_TH, const at::Tensor& token_idx_T, double rate,
                                 const DropoutPlace& place);

}  // namespace switchyard::ops
