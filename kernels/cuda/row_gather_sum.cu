// One warp sums one token's rows; a lane keeps several packs of the row in registers, so that the
// loads of a row overlap.
#include "switchyard/kernels/row_gather_sum.h"

#include <cstdint>

#include "cuda/device.cuh"

namespace switchyard::kernels::cuda {
namespace {

constexpr int kPacks = 4;  // per lane

template <typename Storage, int kCount>
__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock)
    sum_rows(RowGatherSumParams<Storage> params) {
  using T = accumulation_t<Storage>;
  const std::int64_t token = row_of_warp();
  if (token >= params.num_tokens) return;
  const std::int64_t size = params.row_size;
  const std::int32_t first = params.token_offset_T1[token];
  const std::int32_t last = params.token_offset_T1[token + 1];
  constexpr int kStep = kWarpSize * kCount;
  for (std::int64_t begin = threadIdx.x * kCount; begin < size; begin += kPacks * kStep) {
    Values<Storage, kCount> sums[kPacks] = {};
    for (std::int32_t i = first; i < last; ++i) {
      const std::int32_t row = params.token_row_N[i];
      const T weight = params.row_weight_N == nullptr ? T{1} : params.row_weight_N[row];
      const Storage* row_H = params.rows_NH + row * size;
#pragma unroll
      for (int p = 0; p < kPacks; ++p) {
        if (begin + p * kStep >= size) break;
        const auto values = load_values<kCount>(row_H + begin + p * kStep);
#pragma unroll
        for (int j = 0; j < kCount; ++j) sums[p].at[j] += weight * values.at[j];
      }
    }
#pragma unroll
    for (int p = 0; p < kPacks; ++p) {
      if (begin + p * kStep >= size) break;
      store_values(sums[p], params.y_TH + token * size + begin + p * kStep);
    }
  }
}

template <typename Storage>
void sum(const RowGatherSumParams<Storage>& params, Stream stream) {
  const bool packs = fits_packs<Storage>(params.row_size, params.rows_NH, params.y_TH);
  launch(packs ? sum_rows<Storage, kPackSize<Storage>> : sum_rows<Storage, 1>,
         num_blocks(params.num_tokens, kRowsPerBlock), kRowBlock, 0, stream, params);
}

}  // namespace

void row_gather_sum(const RowGatherSumParams<float>& params, Stream stream) {
  sum(params, stream);
}
void row_gather_sum(const RowGatherSumParams<double>& params, Stream stream) {
  sum(params, stream);
}
void row_gather_sum(const RowGatherSumParams<BFloat16>& params, Stream stream) {
  sum(params, stream);
}

}  // namespace switchyard::kernels::cuda
