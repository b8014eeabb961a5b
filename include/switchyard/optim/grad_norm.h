// The global gradient norm and clipping by it.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <span>
#include <vector>

#include "switchyard/ops/parameter.h"

namespace switchyard::optim {

// Given [K] fp64 numbers about the experts held here, on the host, returns those of all ranks that
// hold all experts between them, [ranks, K].
using GatherExperts = std::function<at::Tensor(const at::Tensor& own_K)>;

struct GradNorms {
  double total = 0.0;
  std::vector<double> of_parameter;  // each one's, as far as it is held here
};

// `total` is the Euclidean norm over the gradients of the whole model, every element once whatever
// the layout: parameters that all ranks hold are counted here, and what the ranks of `gather` hold
// of experts is added from each of them (without it: all experts are here). Summed per block of
// fixed size, so the bits do not depend on the number of threads. Not finite when any element is
// not.
[[nodiscard]] GradNorms grad_norms(std::span<ops::Parameter* const> parameters,
                                   const GatherExperts& gather = {});

// Of each of these gradients, contiguous and of one type and device: the sum of the squares of its
// elements, block by block as above.
[[nodiscard]] std::vector<double> sums_of_squares(std::span<const at::Tensor> grads);

// Scales every gradient by clip_norm / norm when norm > clip_norm > 0; otherwise changes nothing.
void clip_gradients(std::span<const at::Tensor> grads, double norm, double clip_norm);

}  // namespace switchyard::optim
