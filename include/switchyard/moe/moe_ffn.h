// Gather, experts and combine as ONE differentiable function. Saves x, [G U] and the integers of
// the routing; nothing of size N * H. Gradients: x, row weights (and so the router), W1, W2.
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
