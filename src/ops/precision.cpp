#include "switchyard/ops/precision.h"

#include <fmt/format.h>

#include "switchyard/core/error.h"

namespace switchyard::ops {

PrecisionPolicy precision_policy(const std::string& precision, at::Device device) {
  PrecisionPolicy policy;
  policy.device = device;
  if (precision == "bf16") {
    policy.compute = at::kBFloat16;
  } else if (precision == "fp64") {
    policy.compute = at::kDouble;
  } else if (precision != "fp32") {
    throw UsageError(fmt::format("unknown precision '{}'", precision), "known: fp32, bf16, fp64");
  }
  return policy;
}

}  // namespace switchyard::ops
