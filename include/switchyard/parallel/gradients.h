// Gradients across ranks: each parameter's over the ranks that hold the same, their norm over all.
#pragma once

#include <span>

#include "switchyard/ops/parameter.h"
#include "switchyard/optim/grad_norm.h"
#include "switchyard/parallel/rank_groups.h"

namespace switchyard::parallel {

// Replaces every `grad` by its sum over the parameter's replicas. Every rank enters every
// collective: a parameter that got no gradient has a buffer of zeros.
void reduce_gradients(std::span<ops::Parameter* const> parameters, RankGroups& groups);

// optim::grad_norms over the experts of all ranks of the expert group: the same bits on all
// ranks, after reduce_gradients.
[[nodiscard]] optim::GradNorms grad_norms(std::span<ops::Parameter* const> parameters,
                                          RankGroups& groups);

}  // namespace switchyard::parallel
