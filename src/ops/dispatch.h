// From a tensor's dtype to the storage type that kernels are written for.
#pragma once

#include <ATen/core/Tensor.h>

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

}  // namespace switchyard::ops
