// In which types a model computes.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

namespace switchyard::ops {

// Of sums, routers and losses: fp64 for fp64 tensors, else fp32.
[[nodiscard]] inline at::ScalarType accumulation_type(at::ScalarType compute) {
  return compute == at::kDouble ? at::kDouble : at::kFloat;
}

struct PrecisionPolicy {
  at::ScalarType compute = at::kFloat;  // fp32, bf16 or fp64
  at::Device device = at::kCPU;         // kMeta: shapes only, nothing allocated
  [[nodiscard]] at::ScalarType accumulation() const { return accumulation_type(compute); }
};

// Of train.precision: "fp32", "bf16" or "fp64". Throws UsageError for another name.
[[nodiscard]] PrecisionPolicy precision_policy(const std::string& precision,
                                               at::Device device = at::kCPU);

}  // namespace switchyard::ops
