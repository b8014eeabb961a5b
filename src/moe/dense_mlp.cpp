#include "switchyard/moe/dense_mlp.h"

#include "switchyard/ops/linear.h"
#include "switchyard/ops/swiglu.h"

namespace switchyard::moe {

DenseMlp::DenseMlp(const DenseMlpBuild& build) {
  const std::int64_t size = build.size;
  const std::int64_t hidden = build.hidden_size;
  gate_up_ = ops::make_parameter(
      {.name = build.name + ".gate_up_proj.weight",
       .shape = {2 * size, hidden},
       .parts = {{.name = build.name + ".gate_proj.weight", .offset = 0, .shape = {size, hidden}},
                 {.name = build.name + ".up_proj.weight",
                  .offset = size * hidden,
                  .shape = {size, hidden}}},
       .init_std = build.init_std},
      build.precision);
  down_ = ops::make_parameter({.name = build.name + ".down_proj.weight",
                               .shape = {hidden, size},
                               .init_std = build.down_proj_std},
                              build.precision);
}

at::Tensor DenseMlp::forward(const at::Tensor& x_TH) const {
  return ops::linear(ops::swiglu(ops::linear(x_TH, gate_up_.value)), down_.value);
}

}  // namespace switchyard::moe
