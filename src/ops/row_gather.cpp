#include "switchyard/ops/row_gather.h"

#include <ATen/ops/empty.h>

#include "ops/kernel_device.h"
#include "switchyard/core/error.h"
#include "switchyard/kernels/row_gather.h"
#include "switchyard/ops/op_span.h"

namespace switchyard::ops {

at::Tensor row_gather(const at::Tensor& x_TH, const at::Tensor& row_token_n,
                      std::int64_t padded_rows) {
  const OpSpan span("row_gather");
  SWITCHYARD_CHECK(x_TH.dim() == 2, "row_gather takes [T, H], got {}", c10::str(x_TH.sizes()));
  SWITCHYARD_CHECK(row_token_n.dim() == 1 && row_token_n.scalar_type() == at::kInt &&
                       row_token_n.is_contiguous() && row_token_n.size(0) <= padded_rows &&
                       row_token_n.device() == x_TH.device(),
                   "row_gather needs contiguous int32 row tokens, at most {}, on {}", padded_rows,
                   x_TH.device().str());
  const at::Tensor x = x_TH.contiguous();
  const at::Tensor out_NH = at::empty({padded_rows, x.size(1)}, x.options());
  const KernelDevice on(x.device(), "row_gather");
  const kernels::RowGatherParams params{
      .x = on.read<std::byte>(x),
      .row_token_N = on.read<std::int32_t>(row_token_n),
      .num_rows = row_token_n.size(0),
      .padded_rows = padded_rows,
      .row_bytes = x.size(1) * static_cast<std::int64_t>(x.element_size()),
      .out = on.write<std::byte>(out_NH)};
  on.run([&] { kernels::cpu::row_gather(params); },
         [&](kernels::Stream stream) { kernels::cuda::row_gather(params, stream); });
  return out_NH;
}

at::Tensor row_gather(const at::Tensor& x_TH, const Routing& routing) {
  SWITCHYARD_CHECK(x_TH.dim() == 2 && x_TH.size(0) == routing.num_tokens,
                   "row_gather of {} for a routing of {} tokens", c10::str(x_TH.sizes()),
                   routing.num_tokens);
  if (routing.rows_are_tokens()) return x_TH.contiguous();
  return row_gather(x_TH, routing.row_token_N, routing.num_rows());
}

}  // namespace switchyard::ops
