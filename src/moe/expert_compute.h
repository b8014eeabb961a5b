// The implementations of ExpertCompute, and what they share; their registry is in
// expert_compute.cpp.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

#include "switchyard/moe/expert_compute.h"
#include "switchyard/ops/routing.h"

namespace switchyard::moe {

// One `mm` per expert and matrix: any dtype, the reference. Weight gradients go straight into the
// sink; bf16 ones of a CPU are rounded to bf16 once per micro-batch before.
[[nodiscard]] std::shared_ptr<ExpertCompute> make_loop_experts();
// at::_grouped_mm: fp32 and bf16. Rounds weight gradients in bf16 once per micro-batch.
[[nodiscard]] std::shared_ptr<ExpertCompute> make_grouped_mm_experts();
// CUTLASS kernels for Hopper, in builds with SWITCHYARD_CUTLASS: bf16 with fp32 weight gradients.
[[nodiscard]] std::shared_ptr<ExpertCompute> make_cutlass_experts();

// Forward::y_TH of the rows' results.
[[nodiscard]] at::Tensor add_up_results(const at::Tensor& y_NH, const ops::Routing& routing);

}  // namespace switchyard::moe
