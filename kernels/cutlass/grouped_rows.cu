#include "cutlass/grouped_gemm.cuh"

namespace switchyard::kernels::cuda {
namespace {

template <typename LayoutB>
void run(const GroupedRowsParams& params, Stream stream) {
  using Gemm = GroupedGemm<RowMajor, LayoutB, cutlass::bfloat16_t>;
  run_grouped<Gemm>({.num_groups = params.num_groups,
                     .row_offset_G1 = params.row_offset_G1,
                     .in_size = params.in_size,
                     .out_size = params.out_size,
                     .a = reinterpret_cast<const cutlass::bfloat16_t*>(params.in_NI),
                     .b = reinterpret_cast<const cutlass::bfloat16_t*>(params.m),
                     .d = reinterpret_cast<cutlass::bfloat16_t*>(params.out_NJ)},
                    stream);
}

}  // namespace

bool has_grouped_gemm() {
  int device = 0;
  int major = 0;
  return cudaGetDevice(&device) == cudaSuccess &&
         cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess &&
         major == 9;
}

void grouped_rows(const GroupedRowsParams& params, Stream stream) {
  if (params.transposed) {
    run<ColumnMajor>(params, stream);
  } else {
    run<RowMajor>(params, stream);
  }
}

}  // namespace switchyard::kernels::cuda
