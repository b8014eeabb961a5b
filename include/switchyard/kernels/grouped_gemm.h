// Matrix products of all experts in one launch, bf16 with fp32 sums. CUTLASS, for Hopper (compute
// capability 9.0): there is no CPU version and no simulated one.
#pragma once

#include <cstdint>

#include "switchyard/kernels/bfloat16.h"
#include "switchyard/kernels/stream.h"

namespace switchyard::kernels {

// out[r] = in[r] m[g], or in[r] m[g]^T, for the rows r of every group g, which are
// [row_offset[g], row_offset[g+1]). Sizes are multiples of 8, pointers aligned to 16 bytes, all on
// the device.
struct GroupedRowsParams {
  std::int64_t num_groups = 0;                  // G
  const std::int32_t* row_offset_G1 = nullptr;  // [G+1]
  std::int64_t in_size = 0;                     // I
  std::int64_t out_size = 0;                    // J
  const BFloat16* in_NI = nullptr;              // [N, I]
  const BFloat16* m = nullptr;                  // [G, I, J], or [G, J, I] where transposed
  bool transposed = false;
  BFloat16* out_NJ = nullptr;  // [N, J]
};

// sum[g] += sum over the rows r of group g of a[r]^T b[r]. Groups without rows stay as they are.
struct GroupedOuterParams {
  std::int64_t num_groups = 0;                  // G
  const std::int32_t* row_offset_G1 = nullptr;  // [G+1]
  std::int64_t a_size = 0;                      // I
  std::int64_t b_size = 0;                      // J
  const BFloat16* a_NI = nullptr;               // [N, I]
  const BFloat16* b_NJ = nullptr;               // [N, J]
  float* sum_GIJ = nullptr;                     // [G, I, J]
};

namespace cuda {

// Is it compiled in (SWITCHYARD_CUTLASS), and is the current device one that it runs on?
[[nodiscard]] bool has_grouped_gemm();
void grouped_rows(const GroupedRowsParams& params, Stream stream);
void grouped_outer(const GroupedOuterParams& params, Stream stream);

}  // namespace cuda
}  // namespace switchyard::kernels
