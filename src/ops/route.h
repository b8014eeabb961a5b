// What top_p_route, top_k_route and replay_route share: argument checks, allocation and the one
// autograd function.
#pragma once

#include <ATen/core/Tensor.h>

#include <variant>

#include "switchyard/ops/replay_route.h"
#include "switchyard/ops/top_k_route.h"
#include "switchyard/ops/top_p_route.h"

namespace switchyard::ops {

// How many experts a token gets: the options of one of the routes.
using RouteRule = std::variant<TopPOptions, TopKOptions, ReplayOptions>;

[[nodiscard]] RouteOutput route(const at::Tensor& logits_TE, const at::Tensor& valid_T,
                                const at::Tensor& sequence_offset_B1, const RouteRule& rule);

}  // namespace switchyard::ops
