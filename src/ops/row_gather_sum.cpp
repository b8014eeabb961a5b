#include <ATen/ops/empty.h>

#include "ops/dispatch.h"
#include "ops/kernel_device.h"
#include "switchyard/core/error.h"
#include "switchyard/kernels/row_gather_sum.h"
#include "switchyard/ops/op_span.h"
#include "switchyard/ops/row_gather.h"

namespace switchyard::ops {

at::Tensor row_gather_sum(const at::Tensor& rows_NH, const at::Tensor& row_weight_N,
                          const Routing& routing) {
  const OpSpan span("row_gather_sum");
  SWITCHYARD_CHECK(rows_NH.dim() == 2 && rows_NH.size(0) == routing.num_rows(),
                   "row_gather_sum of {} for a routing of {} rows", c10::str(rows_NH.sizes()),
                   routing.num_rows());
  SWITCHYARD_CHECK(!row_weight_N.defined() ||
                       (row_weight_N.dim() == 1 && row_weight_N.size(0) == routing.num_rows() &&
                        row_weight_N.scalar_type() == accumulation_type(rows_NH.scalar_type())),
                   "row_gather_sum needs [{}] weights in the accumulation type",
                   routing.num_rows());
  if (routing.rows_are_tokens()) {
    SWITCHYARD_CHECK(!row_weight_N.defined(), "row_gather_sum of rows that are tokens has weights");
    return rows_NH.contiguous();
  }
  const at::Tensor rows = rows_NH.contiguous();
  const at::Tensor weight = row_weight_N.defined() ? row_weight_N.contiguous() : row_weight_N;
  const at::Tensor y_TH = at::empty({routing.num_tokens, rows.size(1)}, rows.options());
  const KernelDevice on(rows.device(), "row_gather_sum");
  dispatch_storage(rows.scalar_type(), "row_gather_sum", [&]<typename Storage>() {
    using T = kernels::accumulation_t<Storage>;
    const kernels::RowGatherSumParams<Storage> params{
        .rows_NH = on.read<Storage>(rows),
        .row_weight_N = on.read_if_defined<T>(weight),
        .token_offset_T1 = on.read<std::int32_t>(routing.token_offset_T1),
        .token_row_N = on.read<std::int32_t>(routing.token_row_N),
        .num_tokens = routing.num_tokens,
        .row_size = rows.size(1),
        .y_TH = on.write<Storage>(y_TH)};
    on.run([&] { kernels::cpu::row_gather_sum(params); },
           [&](kernels::Stream stream) { kernels::cuda::row_gather_sum(params, stream); });
  });
  return y_TH;
}

}  // namespace switchyard::ops
