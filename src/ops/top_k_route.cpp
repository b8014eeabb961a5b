#include "switchyard/ops/top_k_route.h"

#include "ops/route.h"
#include "switchyard/core/error.h"

namespace switchyard::ops {

RouteOutput top_k_route(const at::Tensor& logits_TE, const at::Tensor& valid_T,
                        const at::Tensor& sequence_offset_B1, const TopKOptions& options) {
  if (options.k_T.defined()) {
    SWITCHYARD_CHECK(options.k_T.scalar_type() == at::kInt && options.k_T.dim() == 1 &&
                         options.k_T.size(0) == logits_TE.size(0) &&
                         options.k_T.device() == logits_TE.device(),
                     "k_T must be int32 [T] on the device of the logits");
  } else {
    SWITCHYARD_CHECK(options.k >= 0 && options.k <= logits_TE.size(1),
                     "k is {}, expected 0 to the number of experts, {}", options.k,
                     logits_TE.size(1));
  }
  return route(logits_TE, valid_T, sequence_offset_B1, options);
}

}  // namespace switchyard::ops
