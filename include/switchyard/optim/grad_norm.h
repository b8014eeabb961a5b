// The global gradient norm and clipping by it.
#pragma once

#include <ATen/core/Tensor.h>

#include <span>

#include "switchyard/ops/parameter.h"

namespace switchyard::optim {

// The Euclidean norm over all gradient buffers, every element once (a stacked expert parameter
// holds each expert once). Summed per block of fixed size, so the bits do not depend on the number
// of threads. Not finite when any element is not.
[[nodiscard]] double global_grad_norm(std::span<ops::Parameter* const> parameters);

// Scales every gradient by clip_norm / norm when norm > clip_norm > 0; otherwise changes nothing.
void clip_gradients(std::span<ops::Parameter* const> parameters, double norm, double clip_norm);

}  // namespace switchyard::optim
