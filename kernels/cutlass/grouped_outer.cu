#include "cutlass/grouped_gemm.cuh"

namespace switchyard::kernels::cuda {

// A is a^T: [I, rows] with I contiguous.
void grouped_outer(const GroupedOuterParams& params, Stream stream) {
  using Gemm = GroupedGemm<ColumnMajor, RowMajor, float>;
  run_grouped<Gemm>({.num_groups = params.num_groups,
                     .row_offset_G1 = params.row_offset_G1,
                     .in_size = params.a_size,
                     .out_size = params.b_size,
                     .a = reinterpret_cast<const cutlass::bfloat16_t*>(params.a_NI),
                     .b = reinterpret_cast<const cutlass::bfloat16_t*>(params.b_NJ),
                     .d = params.sum_GIJ},
                    stream);
}

}  // namespace switchyard::kernels::cuda
