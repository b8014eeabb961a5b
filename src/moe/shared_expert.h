// The expert beside the routed ones, which every token passes. Every rank holds all of it, whoever
// holds the routed experts, and computes its own tokens.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <vector>

#include "switchyard/moe/dense_mlp.h"
#include "switchyard/ops/parameter.h"

namespace switchyard::moe {

class SharedExpert {
 public:
  // `has_gate`: y = sigmoid(x w^T) SwiGLU(x), the gate in the accumulation type (Qwen2-MoE).
  // Parameters in files: NAME.{gate,up,down}_proj.weight and NAME_gate.weight.
  SharedExpert(const DenseMlpBuild& build, bool has_gate);
  [[nodiscard]] at::Tensor forward(const at::Tensor& x_TH) const;
  [[nodiscard]] std::vector<ops::Parameter*> parameters();

 private:
  DenseMlp mlp_;
  std::optional<ops::Parameter> gate_;  // [1, H]
};

}  // namespace switchyard::moe
