// Dropout with a counter-based mask; its own backward (the mask is computed again).
#pragma once

#include <cstdint>

#include "switchyard/core/philox.h"
#include "switchyard/kernels/bfloat16.h"
#include "switchyard/kernels/stream.h"

namespace switchyard::kernels {

// Element h of token t is kept when word h % 4 of the Philox counter
// (step, place, token_idx[t], h / 4) is at least rate * 2^32.
template <typename T>
struct DropoutParams {
  const T* x = nullptr;  // [T, H]
  T* y = nullptr;        // [T, H]
  const std::int64_t* token_idx_T = nullptr;
  std::int64_t num_tokens = 0;
  std::int64_t row_size = 0;
  double rate = 0.0;  // in [0, 1)
  PhiloxKey key = {};
  std::uint32_t step = 0;
  std::uint32_t place = 0;  // layer << 8 | site
};

namespace cpu {
void dropout(const DropoutParams<float>& params);
void dropout(const DropoutParams<double>& params);
void dropout(const DropoutParams<BFloat16>& params);
}  // namespace cpu

namespace cuda {
void dropout(const DropoutParams<float>& params, Stream stream);
void dropout(const DropoutParams<double>& params, Stream stream);
void dropout(const DropoutParams<BFloat16>& params, Stream stream);
}  // namespace cuda

}  // namespace switchyard::kernels
