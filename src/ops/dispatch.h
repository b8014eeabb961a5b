// From a tensor's dtype to the storage type that kernels are written for.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/BFloat16.h>

#include <type_traits>

#include "switchyard/core/error.h"
#include "switchyard/kernels/bfloat16.h"
#include "switchyard/ops/precision.h"

namespace switchyard::ops {

// Calls fn.operator()<Storage>() with float, double or kernels::BFloat16.
template <typename Function>
auto dispatch_storage(at::ScalarType dtype, const char* op, Function&& fn) {
  switch (dtype) {
    case at::kFloat:
      return fn.template operator()<float>();
    case at::kDouble:
      return fn.template operator()<double>();
    case at::kBFloat16:
      return fn.template operator()<kernels::BFloat16>();
    default:
      break;
  }
  SWITCHYARD_CHECK(false, "{} takes fp32, bf16 or fp64, got {}", op, c10::toString(dtype));
}

// data pointers as the kernels' storage type; the tensor must have that dtype.
template <typename Storage>
[[nodiscard]] const Storage* read(const at::Tensor& tensor) {
  if constexpr (std::is_same_v<Storage, kernels::BFloat16>) {
    return reinterpret_cast<const Storage*>(tensor.const_data_ptr<at::BFloat16>());
  } else {
    return tensor.const_data_ptr<Storage>();
  }
}
template <typename Storage>
[[nodiscard]] Storage* write(const at::Tensor& tensor) {
  if constexpr (std::is_same_v<Storage, kernels::BFloat16>) {
    return reinterpret_cast<Storage*>(tensor.mutable_data_ptr<at::BFloat16>());
  } else {
    return tensor.mutable_data_ptr<Storage>();
  }
}

}  // namespace switchyard::ops
