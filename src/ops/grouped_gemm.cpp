#include "switchyard/ops/grouped_gemm.h"

#include <ATen/ops/empty.h>
#include <c10/core/DeviceGuard.h>

#include <cstdint>

#include "ops/kernel_device.h"
#include "switchyard/core/error.h"
#include "switchyard/kernels/grouped_gemm.h"

namespace switchyard::ops {
namespace {

bool is_aligned(const KernelDevice& on, const at::Tensor& tensor) {
  return reinterpret_cast<std::uintptr_t>(on.read<std::byte>(tensor)) % 16 == 0;
}

void check_operand(const KernelDevice& on, const at::Tensor& tensor, const char* name) {
  SWITCHYARD_CHECK(
      is_aligned(on, tensor) && tensor.is_cuda() && tensor.scalar_type() == at::kBFloat16 &&
          tensor.is_contiguous() && tensor.size(-1) % 8 == 0,
      "a grouped product takes contiguous, aligned bf16 on CUDA with rows of 8 n; {} is {} "
      "{}",
      name, at::toString(tensor.scalar_type()), c10::str(tensor.sizes()));
}

}  // namespace

bool has_grouped_gemm(at::Device device) {
  return device.is_cuda() && kernels::cuda::has_grouped_gemm();
}

at::Tensor grouped_rows(const at::Tensor& rows_NI, const at::Tensor& m, bool transposed,
                        const Routing& routing) {
  const KernelDevice on(rows_NI.device(), "grouped_rows");
  check_operand(on, rows_NI, "rows");
  check_operand(on, m, "m");
  const std::int64_t out_size = m.size(transposed ? 1 : 2);
  SWITCHYARD_CHECK(m.dim() == 3 && m.size(0) == routing.num_experts &&
                       m.size(transposed ? 2 : 1) == rows_NI.size(1) &&
                       rows_NI.size(0) == routing.num_rows() && out_size % 8 == 0,
                   "a grouped product of {} rows of {} with m {}", rows_NI.size(0), rows_NI.size(1),
                   c10::str(m.sizes()));
  at::Tensor out_NJ = at::empty({rows_NI.size(0), out_size}, rows_NI.options());
  if (out_NJ.numel() == 0) return out_NJ;
  const c10::DeviceGuard guard(rows_NI.device());
  kernels::cuda::grouped_rows({.num_groups = routing.num_experts,
                               .row_offset_G1 = on.read<int>(routing.expert_offset_E1),
                               .in_size = rows_NI.size(1),
                               .out_size = out_size,
                               .in_NI = on.read<kernels::BFloat16>(rows_NI),
                               .m = on.read<kernels::BFloat16>(m),
                               .transposed = transposed,
                               .out_NJ = on.write<kernels::BFloat16>(out_NJ)},
                              on.stream());
  return out_NJ;
}

void add_grouped_outer(const at::Tensor& sum_EIJ, const at::Tensor& a_NI, const at::Tensor& b_NJ,
                       const Routing& routing) {
  const KernelDevice on(a_NI.device(), "grouped_outer");
  check_operand(on, a_NI, "a");
  check_operand(on, b_NJ, "b");
  SWITCHYARD_CHECK(is_aligned(on, sum_EIJ) && sum_EIJ.is_cuda() &&
                       sum_EIJ.scalar_type() == at::kFloat && sum_EIJ.is_contiguous() &&
                       sum_EIJ.dim() == 3 && sum_EIJ.size(0) == routing.num_experts &&
                       sum_EIJ.size(1) == a_NI.size(1) && sum_EIJ.size(2) == b_NJ.size(1) &&
                       a_NI.size(0) == routing.num_rows() && b_NJ.size(0) == routing.num_rows(),
                   "a grouped outer product of {} and {} into {}", c10::str(a_NI.sizes()),
                   c10::str(b_NJ.sizes()), c10::str(sum_EIJ.sizes()));
  if (a_NI.size(0) == 0) return;
  const c10::DeviceGuard guard(a_NI.device());
  kernels::cuda::grouped_outer({.num_groups = routing.num_experts,
                                .row_offset_G1 = on.read<int>(routing.expert_offset_E1),
                                .a_size = a_NI.size(1),
                                .b_size = b_NJ.size(1),
                                .a_NI = on.read<kernels::BFloat16>(a_NI),
                                .b_NJ = on.read<kernels::BFloat16>(b_NJ),
                                .sum_GIJ = on.write<float>(sum_EIJ)},
                               on.stream());
}

}  // namespace switchyard::ops
