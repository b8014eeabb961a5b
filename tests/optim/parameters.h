// Parameters with given numbers, for the tests of this folder.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>

#include <memory>
#include <string>
#include <vector>

#include "switchyard/ops/parameter.h"

namespace switchyard::optim {

// [0, 1, 2, ...] -> irregular numbers in [-1, 1], another sequence for each `phase`.
inline at::Tensor wave(std::vector<std::int64_t> shape, double phase, at::ScalarType dtype) {
  std::int64_t numel = 1;
  for (const std::int64_t size : shape) numel *= size;
  return at::arange(numel, at::kDouble).mul_(1.7).add_(phase).sin_().view(shape).to(dtype);
}

inline std::unique_ptr<ops::Parameter> wave_parameter(const std::string& name,
                                                      std::vector<std::int64_t> shape, bool decay,
                                                      const ops::PrecisionPolicy& policy,
                                                      double phase) {
  ops::ParameterSpec spec;
  spec.name = name;
  spec.shape = shape;
  spec.decay = decay;
  auto parameter = std::make_unique<ops::Parameter>(ops::make_parameter(spec, policy));
  parameter->master.detach().copy_(wave(shape, phase, policy.accumulation()));
  ops::publish(*parameter);
  ops::zero_grad(*parameter);
  return parameter;
}

}  // namespace switchyard::optim
