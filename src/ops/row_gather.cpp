#include "switchyard/ops/row_gather.h"

#include <ATen/ops/empty.h>

#include "ops/dispatch.h"
#include "ops/stream.h"
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
  const kernels::RowGatherParams params{
      .x = static_cast<const std::byte*>(x.const_data_ptr()),
      .row_token_N = row_token_n.const_data_ptr<std::int32_t>(),
      .num_rows = row_token_n.size(0),
      .padded_rows = padded_rows,
      .row_bytes = x.size(1) * static_cast<std::int64_t>(x.element_size()),
      .out = static_cast<std::byte*>(out_NH.mutable_data_ptr())};
  if (x.is_cpu()) {
    kernels::cpu::row_gather(params);
  } else {
    kernels::cuda::row_gather(params, current_stream(x.device()));
  }
  return out_NH;
}

at::Tensor row_gather(const at::Tensor& x_TH, const Routing& routing) {
  SWITCHYARD_CHECK(x_TH.dim() == 2 && x_TH.size(0) == routing.num_tokens,
                   "row_gather of {} for a routing of {} tokens", c10::str(x_TH.sizes()),
                   routing.num_tokens);
  return row_gather(x_TH, routing.row_token_N, routing.num_rows());
}

}  // namespace switchyard::ops
