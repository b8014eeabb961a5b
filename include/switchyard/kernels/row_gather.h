// Copies rows of token states to routed rows.
#pragma once

#include <cstddef>
#include <cstdint>

#include "switchyard/kernels/stream.h"

namespace switchyard::kernels {

// out[r] = x[row_token[r]] for whole rows of bytes, whatever they hold; rows from num_rows to
// padded_rows are zeroed.
struct RowGatherParams {
  const std::byte* x = nullptr;               // [T, row_bytes]
  const std::int32_t* row_token_N = nullptr;  // each in [0, T)
  std::int64_t num_rows = 0;
  std::int64_t padded_rows = 0;  // >= num_rows
  std::int64_t row_bytes = 0;
  std::byte* out = nullptr;  // [padded_rows, row_bytes]
};

namespace cpu {
void row_gather(const RowGatherParams& params);
}  // namespace cpu

namespace cuda {
void row_gather(const RowGatherParams& params, Stream stream);
}  // namespace cuda

}  // namespace switchyard::kernels
