// Activation checkpointing of one block.
#pragma once

#include <ATen/core/Tensor.h>

#include "model/block.h"
#include "switchyard/model/batch.h"
#include "switchyard/model/trunk.h"

namespace switchyard::model {

// block.forward() that keeps only x_TH [T, H] and the integers of the route for the backward pass,
// which then computes the block again. Values and gradients have the bits of block.forward():
// dropout draws from counters, and the route is replayed, not chosen again. Of the route, the sums
// are differentiable; row_weight_N is constant. The block must outlive the result's graph.
[[nodiscard]] Block::Output forward_recomputed(Block& block, const at::Tensor& x_TH,
                                               const Batch& batch, const ForwardContext& context);

}  // namespace switchyard::model
