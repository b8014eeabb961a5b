// Linear layers.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace switchyard::ops {

// x_TI weight_OI^T + bias_O -> [T, O], once differentiable in all three. Of one dtype and device.
// On a GPU this is at::linear; on a CPU its products are those of product.h.
[[nodiscard]] at::Tensor linear(const at::Tensor& x_TI, const at::Tensor& weight_OI,
                                const std::optional<at::Tensor>& bias_O = std::nullopt);

}  // namespace switchyard::ops
