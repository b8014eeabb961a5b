#include "switchyard/ops/grouped_add.h"

#include "ops/dispatch.h"
#include "ops/kernel_device.h"
#include "switchyard/core/error.h"
#include "switchyard/kernels/grouped_add.h"
#include "switchyard/ops/op_span.h"

namespace switchyard::ops {

void grouped_add(const at::Tensor& sum_EIJ, const at::Tensor& value_EIJ, const Routing& routing) {
  const OpSpan span("grouped_add");
  SWITCHYARD_CHECK(value_EIJ.dim() == 3 && value_EIJ.size(0) == routing.num_experts &&
                       sum_EIJ.sizes() == value_EIJ.sizes() && value_EIJ.is_contiguous() &&
                       sum_EIJ.is_contiguous() &&
                       sum_EIJ.scalar_type() == accumulation_type(value_EIJ.scalar_type()),
                   "cannot add {} {} of {} experts to sums {} {}",
                   at::toString(value_EIJ.scalar_type()), c10::str(value_EIJ.sizes()),
                   routing.num_experts, at::toString(sum_EIJ.scalar_type()),
                   c10::str(sum_EIJ.sizes()));
  if (value_EIJ.numel() == 0) return;
  const KernelDevice on(value_EIJ.device(), "grouped_add");
  dispatch_storage(value_EIJ.scalar_type(), "grouped_add", [&]<typename Storage>() {
    const kernels::GroupedAddParams<Storage> params{
        .num_groups = routing.num_experts,
        .row_offset_G1 = on.read<std::int32_t>(routing.expert_offset_E1),
        .group_size = value_EIJ.size(1) * value_EIJ.size(2),
        .value_GM = on.read<Storage>(value_EIJ),
        .sum_GM = on.write<kernels::accumulation_t<Storage>>(sum_EIJ)};
    on.run([&] { kernels::cpu::grouped_add(params); },
           [&](kernels::Stream stream) { kernels::cuda::grouped_add(params, stream); });
  });
}

}  // namespace switchyard::ops
