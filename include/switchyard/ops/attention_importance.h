// How important each token is, read off the attention of its block: a statistic, no gradient.
#pragma once

#include <ATen/core/Tensor.h>

#include "switchyard/ops/attention.h"

namespace switchyard::ops {

enum class ImportanceMeasure {
  none,
  received,       // mean over heads and valid queries of the attention a key receives;
                  // bidirectional only
  received_peak,  // mean over heads of the largest attention probability of the column, over
                  // valid queries; bidirectional only
  peak,           // mean over heads of the largest attention probability of the row
  entropy,        // mean over heads of the row's entropy / log(visible keys)
};

// A second tiled pass over scale * q.k with attention()'s lse; never an [S, S] tensor for a whole
// batch. Returns the raw measure [T], accumulation type, 0 for invalid tokens: `received` is r_j
// (not yet divided by its mean); a row that sees one key has peak 1 and entropy 1.
// Throws InternalError for `received` and `received_peak` with options.causal.
[[nodiscard]] at::Tensor attention_importance(const at::Tensor& q_TAD, const at::Tensor& k_TGD,
                                              const at::Tensor& lse_AT,
                                              const AttentionOptions& options,
                                              ImportanceMeasure measure);

}  // namespace switchyard::ops
