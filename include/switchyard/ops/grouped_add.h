// Adds the weight gradients of experts to their sums.
#pragma once

#include <ATen/core/Tensor.h>

#include "switchyard/ops/routing.h"

namespace switchyard::ops {

// sum[e] += value[e] for the experts that have rows; of the others value_EIJ is not even read, as
// at::_grouped_mm leaves them unwritten on some GPUs. value_EIJ [E, I, J] in fp32, bf16 or fp64,
// sum_EIJ alike in the accumulation type, both contiguous. Throws InternalError for other shapes.
void grouped_add(const at::Tensor& sum_EIJ, const at::Tensor& value_EIJ, const Routing& routing);

}  // namespace switchyard::ops
