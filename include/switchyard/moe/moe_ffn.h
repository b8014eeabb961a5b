// Gather, experts and combine as ONE differentiable function. Saves x, [G U] and the integers of
// the routing; nothing of size N * H. Gradients: x, row weights (and so the router), W1, W2.
//
// Of a routing whose rows are tokens it is the part without the combine: what it returns is not yet
// multiplied by the row weights, but gradients are taken as if it were (expert_compute.h). Together
// with whoever multiplies by them, and passes on the gradient of the products, it is
// differentiable.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

#include "switchyard/moe/expert_compute.h"
#include "switchyard/ops/routing.h"

namespace switchyard::moe {

// `sink` holds the buffers that weight gradients are added to during backward; with undefined
// members that weight's gradient flows through autograd (verification).
[[nodiscard]] at::Tensor moe_ffn(const at::Tensor& x_TH, const ops::Routing& routing,
                                 const at::Tensor& w1_E2FH, const at::Tensor& w2_EHF,
                                 const std::shared_ptr<ExpertCompute>& compute,
                                 const GradSink& sink);

}  // namespace switchyard::moe
