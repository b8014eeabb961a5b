// Dispatch and combine on one device: rows out of token states, and token states out of rows.
// No autograd here: moe/moe_ffn is the one differentiable function over them.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "switchyard/ops/routing.h"

namespace switchyard::ops {

// x_TH -> x_NH with x_NH[r] = x_TH[row_token[r]]; same dtype. Where rows are tokens, x_TH itself.
[[nodiscard]] at::Tensor row_gather(const at::Tensor& x_TH, const Routing& routing);

// The same for some rows, e.g. one expert's: row_token_n [n] int32. The result has padded_rows >= n
// rows, of which those from n on are zero.
[[nodiscard]] at::Tensor row_gather(const at::Tensor& x_TH, const at::Tensor& row_token_n,
                                    std::int64_t padded_rows);

// rows_NH -> y_TH with y[t] = sum over the token's rows r (ascending expert) of weight[r] *
// rows[r], accumulated in the accumulation type and rounded once to rows_NH's dtype. `row_weight_N`
// [N] accumulation type, or undefined: weight 1. A token without rows gives zeros. Where rows are
// tokens there is nothing to add up and no weight may be given: rows_NH itself.
[[nodiscard]] at::Tensor row_gather_sum(const at::Tensor& rows_NH, const at::Tensor& row_weight_N,
                                        const Routing& routing);

}  // namespace switchyard::ops
