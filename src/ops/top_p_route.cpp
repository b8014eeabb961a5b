#include "switchyard/ops/top_p_route.h"

#include "ops/route.h"
#include "switchyard/core/error.h"

namespace switchyard::ops {

RouteOutput top_p_route(const at::Tensor& logits_TE, const at::Tensor& valid_T,
                        const at::Tensor& sequence_offset_B1, const TopPOptions& options) {
  SWITCHYARD_CHECK(options.p > 0.0 && options.p <= 1.0, "p is {}, expected 0 < p <= 1", options.p);
  SWITCHYARD_CHECK(!options.max_experts || *options.max_experts >= 1,
                   "max_experts is {}, expected 1 or more", *options.max_experts);
  return route(logits_TE, valid_T, sequence_offset_B1, options);
}

}  // namespace switchyard::ops
