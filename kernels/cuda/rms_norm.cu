// One warp per row. The weight's gradient is a sum over rows: partial sums of fixed blocks of rows,
// one thread per pack of columns, then a sum of those in order.
#include "switchyard/kernels/rms_norm.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "cuda/wide_values.cuh"

namespace switchyard::kernels::cuda {
namespace {

constexpr int kThreads = 128;
constexpr std::int64_t kMinRowsPerPartial = 128;
constexpr std::int64_t kMaxPartials = 256;  // the last sum walks over them

template <typename Storage, int kCount>
__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock)
    forward_rows(RmsNormParams<Storage> params) {
  using T = accumulation_t<Storage>;
  const std::int64_t row = row_of_warp();
  if (row >= params.num_rows) return;
  const std::int64_t size = params.row_size;
  const Storage* x = params.x + row * size;
  Storage* y = params.y + row * size;
  T square = 0;
  for (std::int64_t h = threadIdx.x * kCount; h < size; h += kWarpSize * kCount) {
    const auto values = load_values<kCount>(x + h);
#pragma unroll
    for (int i = 0; i < kCount; ++i) square += values.at[i] * values.at[i];
  }
  const T mean = warp_sum(square) / static_cast<T>(size);
  const T inverse = T{1} / std::sqrt(mean + static_cast<T>(params.eps));
  if (threadIdx.x == 0) params.inverse_N[row] = inverse;
  for (std::int64_t h = threadIdx.x * kCount; h < size; h += kWarpSize * kCount) {
    auto values = load_values<kCount>(x + h);
    const auto weights = load_wide<Storage, kCount>(params.weight_H + h);
#pragma unroll
    for (int i = 0; i < kCount; ++i) values.at[i] *= inverse * weights.at[i];
    store_values(values, y + h);
  }
}

// With x^ = x * inverse: dx = inverse * (w dy - x^ mean(w dy x^)).
template <typename Storage, int kCount>
__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock)
    backward_rows(RmsNormBackwardParams<Storage> params) {
  using T = accumulation_t<Storage>;
  const std::int64_t row = row_of_warp();
  if (row >= params.num_rows) return;
  const std::int64_t size = params.row_size;
  const Storage* x = params.x + row * size;
  const Storage* dy = params.dy + row * size;
  const T inverse = params.inverse_N[row];
  T dot = 0;
  for (std::int64_t h = threadIdx.x * kCount; h < size; h += kWarpSize * kCount) {
    const auto xs = load_values<kCount>(x + h);
    const auto dys = load_values<kCount>(dy + h);
    const auto weights = load_wide<Storage, kCount>(params.weight_H + h);
#pragma unroll
    for (int i = 0; i < kCount; ++i) dot += dys.at[i] * xs.at[i] * inverse * weights.at[i];
  }
  const T mean = warp_sum(dot) / static_cast<T>(size);
  for (std::int64_t h = threadIdx.x * kCount; h < size; h += kWarpSize * kCount) {
    const auto xs = load_values<kCount>(x + h);
    const auto weights = load_wide<Storage, kCount>(params.weight_H + h);
    auto dxs = load_values<kCount>(dy + h);
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      dxs.at[i] = inverse * (dxs.at[i] * weights.at[i] - xs.at[i] * inverse * mean);
    }
    store_values(dxs, params.dx + row * size + h);
  }
}

// Block (x, y): rows of partial sum x, columns y.
template <typename Storage, int kCount>
__global__ void __launch_bounds__(kThreads)
    sum_columns(RmsNormBackwardParams<Storage> params, std::int64_t rows_per_partial,
                accumulation_t<Storage>* partial_PH) {
  using T = accumulation_t<Storage>;
  const std::int64_t h = (static_cast<std::int64_t>(blockIdx.y) * kThreads + threadIdx.x) * kCount;
  if (h >= params.row_size) return;
  const std::int64_t begin = static_cast<std::int64_t>(blockIdx.x) * rows_per_partial;
  const std::int64_t end = std::min(begin + rows_per_partial, params.num_rows);
  T sums[kCount] = {};
#pragma unroll 4
  for (std::int64_t row = begin; row < end; ++row) {
    const T inverse = params.inverse_N[row];
    const auto xs = load_values<kCount>(params.x + row * params.row_size + h);
    const auto dys = load_values<kCount>(params.dy + row * params.row_size + h);
#pragma unroll
    for (int i = 0; i < kCount; ++i) sums[i] += dys.at[i] * xs.at[i] * inverse;
  }
#pragma unroll
  for (int i = 0; i < kCount; ++i) partial_PH[blockIdx.x * params.row_size + h + i] = sums[i];
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    add_partials(const T* partial_PH, std::int64_t num_partials, std::int64_t size, T* sum_H) {
  const std::int64_t h = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (h >= size) return;
  T sum = 0;
#pragma unroll 8
  for (std::int64_t p = 0; p < num_partials; ++p) sum += partial_PH[p * size + h];
  sum_H[h] = sum;
}

template <typename Storage>
void run(const RmsNormParams<Storage>& params, Stream stream) {
  const bool packs = fits_packs<Storage>(params.row_size, params.x, params.y, params.weight_H);
  launch(packs ? forward_rows<Storage, kPackSize<Storage>> : forward_rows<Storage, 1>,
         num_blocks(params.num_rows, kRowsPerBlock), kRowBlock, 0, stream, params);
}

template <typename Storage>
void run(const RmsNormBackwardParams<Storage>& params, Stream stream) {
  using T = accumulation_t<Storage>;
  constexpr int kPack = kPackSize<Storage>;
  const bool packs =
      fits_packs<Storage>(params.row_size, params.x, params.dy, params.dx, params.weight_H);
  launch(packs ? backward_rows<Storage, kPack> : backward_rows<Storage, 1>,
         num_blocks(params.num_rows, kRowsPerBlock), kRowBlock, 0, stream, params);
  const std::int64_t rows_per_partial =
      std::max(kMinRowsPerPartial, (params.num_rows + kMaxPartials - 1) / kMaxPartials);
  const unsigned partials = num_blocks(params.num_rows, rows_per_partial);
  Scratch scratch(Scratch::bytes_of<T>(partials * params.row_size), stream);
  T* partial_PH = scratch.take<T>(partials * params.row_size);
  launch(packs ? sum_columns<Storage, kPack> : sum_columns<Storage, 1>,
         dim3(partials, num_blocks(params.row_size, kThreads * (packs ? kPack : 1))), kThreads, 0,
         stream, params, rows_per_partial, partial_PH);
  launch(add_partials<T>, num_blocks(params.row_size, kThreads), kThreads, 0, stream, partial_PH,
         static_cast<std::int64_t>(partials), params.row_size, params.dweight_H);
}

}  // namespace

void rms_norm(const RmsNormParams<float>& params, Stream stream) {
  run(params, stream);
}
void rms_norm(const RmsNormParams<double>& params, Stream stream) {
  run(params, stream);
}
void rms_norm(const RmsNormParams<BFloat16>& params, Stream stream) {
  run(params, stream);
}
void rms_norm_backward(const RmsNormBackwardParams<float>& params, Stream stream) {
  run(params, stream);
}
void rms_norm_backward(const RmsNormBackwardParams<double>& params, Stream stream) {
  run(params, stream);
}
void rms_norm_backward(const RmsNormBackwardParams<BFloat16>& params, Stream stream) {
  run(params, stream);
}

}  // namespace switchyard::kernels::cuda
