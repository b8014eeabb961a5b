// Sums of matrix products in the accumulation type.
#pragma once

#include <ATen/core/Tensor.h>

namespace switchyard::ops {

// sum_MN += a_MK b_KN in place. a and b of one dtype, sum in its accumulation type; one device. In
// bf16 a GPU's product adds to the sum itself; a CPU's is rounded to bf16 first.
void add_product(const at::Tensor& sum_MN, const at::Tensor& a_MK, const at::Tensor& b_KN);

}  // namespace switchyard::ops
