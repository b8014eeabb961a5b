// Statistics of attention probabilities per token: a second tiled pass over the scores.
#pragma once

#include <cstdint>

#include "switchyard/kernels/attention.h"
#include "switchyard/kernels/stream.h"

namespace switchyard::kernels {

enum class AttentionStatistic { received, received_peak, peak, entropy };

template <typename T>
struct AttentionImportanceParams {
  AttentionShape<T> shape;
  const accumulation_t<T>* lse_AT = nullptr;  // of attention() with the same shape
  AttentionStatistic statistic = AttentionStatistic::entropy;
  // [num_queries]; 0 for invalid queries. `received` and `received_peak` need as many queries as
  // keys.
  accumulation_t<T>* importance_T = nullptr;
};

namespace cpu {
void attention_importance(const AttentionImportanceParams<float>& params);
void attention_importance(const AttentionImportanceParams<double>& params);
void attention_importance(const AttentionImportanceParams<BFloat16>& params);
}  // namespace cpu

// bf16 without a mask, heads of up to 128 elements: on tensor cores.
namespace cuda {
void attention_importance(const AttentionImportanceParams<float>& params, Stream stream);
void attention_importance(const AttentionImportanceParams<double>& params, Stream stream);
void attention_importance(const AttentionImportanceParams<BFloat16>& params, Stream stream);
}  // namespace cuda

}  // namespace switchyard::kernels
