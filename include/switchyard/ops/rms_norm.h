// Root-mean-square normalisation (Zhang & Sennrich, 2019), accumulation type inside.
#pragma once

#include <ATen/core/Tensor.h>

namespace switchyard::ops {

// x [..., H], weight_H [H] -> x / sqrt(mean(x^2) + eps) * weight, x's dtype. Differentiable in
// both.
[[nodiscard]] at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight_H, double eps);

}  // namespace switchyard::ops
