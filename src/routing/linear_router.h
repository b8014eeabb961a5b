// What the built-in routers share: one weight matrix, and the logits it gives.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "switchyard/routing/router.h"

namespace switchyard::routing {

class LinearRouter : public Router {
 public:
  // `renormalize`: route() scales the weights of a token to sum 1.
  LinearRouter(const RouterBuild& build, bool renormalize);
  // For weights that are probabilities or shares of them; to be overridden for others.
  [[nodiscard]] RouteResult replay(const RouterInput& input, const RouteResult& first) override;
  [[nodiscard]] ops::Parameter& weight() final { return weight_; }

 protected:
  // x_TH [T, H] of any float dtype -> logits_TE = x W^T [T, E], product and result in the
  // accumulation type whatever the model's dtype. Differentiable in x and the weight.
  // What route() and replay() go by; to be overridden by what makes something else of it.
  [[nodiscard]] virtual at::Tensor logits(const at::Tensor& x_TH) const;

 private:
  ops::Parameter weight_;  // [E, H]
  bool renormalize_;
};

}  // namespace switchyard::routing
