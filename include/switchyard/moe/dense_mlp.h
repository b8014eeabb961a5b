// The SwiGLU that every token passes: of a layer without experts, and the shared expert of one
// with.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "switchyard/ops/parameter.h"
#include "switchyard/ops/precision.h"

namespace switchyard::moe {

struct DenseMlpBuild {
  std::string name;  // e.g. `model.layers.3.mlp`
  std::int64_t hidden_size = 0;
  std::int64_t size = 0;  // F, of the intermediate channels
  double init_std = 0.02;
  double down_proj_std = 0.02;
  ops::PrecisionPolicy precision;
};

// y = silu(x Wg^T) * (x Wu^T) Wd^T, without bias.
class DenseMlp {
 public:
  explicit DenseMlp(const DenseMlpBuild& build);
  // [T, H] in the compute dtype -> [T, H].
  [[nodiscard]] at::Tensor forward(const at::Tensor& x_TH) const;
  // In files `NAME.{gate,up,down}_proj.weight`.
  [[nodiscard]] std::vector<ops::Parameter*> parameters() { return {&gate_up_, &down_}; }

 private:
  ops::Parameter gate_up_;  // [2F, H]
  ops::Parameter down_;     // [H, F]
};

}  // namespace switchyard::moe
