#include "switchyard/kernels/row_gather_sum.h"

#include <algorithm>
#include <cstddef>
#include <vector>

#include "cpu/row_block.h"
#include "switchyard/core/parallel.h"
#include "switchyard/kernels/simd.h"

namespace switchyard::kernels::cpu {
namespace {

template <typename Storage>
SWITCHYARD_SIMD_CLONES void sum_tokens(const RowGatherSumParams<Storage>& params,
                                       std::int64_t begin, std::int64_t end) {
  using T = accumulation_t<Storage>;
  const std::int64_t size = params.row_size;
  std::vector<T> sum_storage(static_cast<std::size_t>(size));
  T* sum_H = sum_storage.data();
  for (std::int64_t t = begin; t < end; ++t) {
    std::fill_n(sum_H, size, T{0});
    for (std::int32_t i = params.token_offset_T1[t]; i < params.token_offset_T1[t + 1]; ++i) {
      const std::int64_t row = params.token_row_N[i];
      const Storage* row_H = params.rows_NH + row * size;
      const T weight = params.row_weight_N == nullptr ? T{1} : params.row_weight_N[row];
#pragma omp simd
      for (std::int64_t h = 0; h < size; ++h) sum_H[h] += weight * load(row_H[h]);
    }
    Storage* y_H = params.y_TH + t * size;
#pragma omp simd
    for (std::int64_t h = 0; h < size; ++h) y_H[h] = store<Storage>(sum_H[h]);
  }
}

template <typename Storage>
void sum(const RowGatherSumParams<Storage>& params) {
  parallel_for(params.num_tokens, rows_per_block(params.row_size),
               [&](std::int64_t begin, std::int64_t end) { sum_tokens(params, begin, end); });
}

}  // namespace

void row_gather_sum(const RowGatherSumParams<float>& params) {
  sum(params);
}
void row_gather_sum(const RowGatherSumParams<double>& params) {
  sum(params);
}
void row_gather_sum(const RowGatherSumParams<BFloat16>& params) {
  sum(params);
}

}  // namespace switchyard::kernels::cpu
