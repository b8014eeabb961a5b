// Rows of a table by token id; the gradient goes straight into the parameter's buffer.
#pragma once

#include <ATen/core/Tensor.h>

namespace switchyard::ops {

// token_T [T] int64 in [0, V), weight_VH [V, H] -> [T, H]. `weight_grad_VH`: accumulation-type
// buffer [V, H] that the gradient is added to during backward, which saves a [V, H] tensor per
// micro-batch; when undefined the gradient flows through autograd as usual.
// A token outside [0, V) throws DataError.
[[nodiscard]] at::Tensor embedding(const at::Tensor& token_T, const at::Tensor& weight_VH,
                                   const at::Tensor& weight_grad_VH = {});

}  // namespace switchyard::ops
