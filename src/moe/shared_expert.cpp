#include "moe/shared_expert.h"

#include <ATen/ops/sigmoid.h>

#include "switchyard/ops/linear.h"

namespace switchyard::moe {

SharedExpert::SharedExpert(const DenseMlpBuild& build, bool has_gate) : mlp_(build) {
  if (!has_gate) return;
  gate_ = ops::make_parameter({.name = build.name + "_gate.weight",
                               .shape = {1, build.hidden_size},
                               .init_std = build.init_std,
                               .decay = false,
                               .keep_accumulation_type = true},
                              build.precision);
}

at::Tensor SharedExpert::forward(const at::Tensor& x_TH) const {
  const at::Tensor y_TH = mlp_.forward(x_TH);
  if (!gate_) return y_TH;
  const at::Tensor share_T1 =
      at::sigmoid(ops::linear(x_TH.to(gate_->value.scalar_type()), gate_->value));
  return y_TH.mul(share_T1.to(y_TH.scalar_type()));
}

std::vector<ops::Parameter*> SharedExpert::parameters() {
  std::vector<ops::Parameter*> list = mlp_.parameters();
  if (gate_) list.push_back(&*gate_);
  return list;
}

}  // namespace switchyard::moe
