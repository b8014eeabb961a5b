// Sums the routed rows of each token: the transpose of row_gather.
#pragma once

#include <cstdint>

#include "switchyard/kernels/bfloat16.h"
#include "switchyard/kernels/stream.h"

namespace switchyard::kernels {

// y[t] = sum over i in [token_offset[t], token_offset[t + 1]) of weight[r] * rows[r] with
// r = token_row[i], in this order, in the accumulation type, rounded once; 0 without rows.
template <typename T>
struct RowGatherSumParams {
  const T* rows_NH = nullptr;
  const accumulation_t<T>* row_weight_N = nullptr;  // null: 1
  const std::int32_t* token_offset_T1 = nullptr;    // [T+1]
  const std::int32_t* token_row_N = nullptr;
  std::int64_t num_tokens = 0;
  std::int64_t row_size = 0;  // H
  T* y_TH = nullptr;
};

namespace cpu {
void row_gather_sum(const RowGatherSumParams<float>& params);
void row_gather_sum(const RowGatherSumParams<double>& params);
void row_gather_sum(const RowGatherSumParams<BFloat16>& params);
}  // namespace cpu

namespace cuda {
void row_gather_sum(const RowGatherSumParams<float>& params, Stream stream);
void row_gather_sum(const RowGatherSumParams<double>& params, Stream stream);
void row_gather_sum(const RowGatherSumParams<BFloat16>& params, Stream stream);
}  // namespace cuda

}  // namespace switchyard::kernels
