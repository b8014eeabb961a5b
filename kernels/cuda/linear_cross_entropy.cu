// One block per row of logits: a first pass finds maximum and sum together, a second one writes the
// gradient over the logits. Packs of elements may reach beyond a row into the room behind it.
#include "switchyard/kernels/linear_cross_entropy.h"

#include <cmath>
#include <cstdint>
#include <limits>

#include "cuda/device.cuh"

namespace switchyard::kernels::cuda {
namespace {

constexpr int kThreads = 256;

// Sum of exp(logit - max) over what was seen, and that maximum. NaN is no maximum but makes the sum
// NaN; while nothing finite was seen the maximum is -Inf and stands for 0.
template <typename T>
struct SoftmaxSum {
  T max;
  T sum;
};

template <typename T>
__device__ __forceinline__ SoftmaxSum<T> merge(const SoftmaxSum<T>& a, const SoftmaxSum<T>& b) {
  const T max = b.max > a.max ? b.max : a.max;
  const auto scaled = [max](const SoftmaxSum<T>& part) {
    return part.max == max ? part.sum : part.sum * std::exp(part.max - max);
  };
  return {max, scaled(a) + scaled(b)};
}

template <typename T>
__device__ __forceinline__ void add(SoftmaxSum<T>& total, T logit) {
  if (logit > total.max) {
    total.sum *= std::exp(total.max - logit);
    total.max = logit;
  }
  const T base = total.max == -std::numeric_limits<T>::infinity() ? T{0} : total.max;
  total.sum += std::exp(logit - base);
}

template <typename Storage, int kCount>
__global__ void __launch_bounds__(kThreads) loss_row(LinearCrossEntropyParams<Storage> params) {
  using T = accumulation_t<Storage>;
  __shared__ SoftmaxSum<T> per_warp[kThreads / kWarpSize];
  const std::int64_t row = blockIdx.x;
  const std::int64_t size = params.vocab_size;
  const std::int64_t label = params.label_N[row];
  Storage* logits = params.logits_NV + row * params.row_stride;
  if (label < 0) {
    if (threadIdx.x == 0) params.loss_N[row] = T{0};
    if (!params.write_gradient) return;
    for (std::int64_t i = threadIdx.x * kCount; i < size; i += kThreads * kCount) {
      store_values(Values<Storage, kCount>{}, logits + i);
    }
    return;
  }
  SoftmaxSum<T> total{-std::numeric_limits<T>::infinity(), T{0}};
  for (std::int64_t i = threadIdx.x * kCount; i < size; i += kThreads * kCount) {
    const auto values = load_values<kCount>(logits + i);
#pragma unroll
    for (int j = 0; j < kCount; ++j) {
      if (kCount == 1 || i + j < size) add(total, values.at[j]);
    }
  }
#pragma unroll
  for (int step = kWarpSize / 2; step > 0; step /= 2) {
    total = merge(total, SoftmaxSum<T>{__shfl_xor_sync(kFullWarp, total.max, step),
                                       __shfl_xor_sync(kFullWarp, total.sum, step)});
  }
  if (threadIdx.x % kWarpSize == 0) per_warp[threadIdx.x / kWarpSize] = total;
  const T label_logit = widen(logits[label]);  // before anyone overwrites it
  __syncthreads();
  total = per_warp[0];
#pragma unroll
  for (int i = 1; i < kThreads / kWarpSize; ++i) total = merge(total, per_warp[i]);
  const T log_sum = total.max + std::log(total.sum);
  if (threadIdx.x == 0) params.loss_N[row] = log_sum - label_logit;
  if (!params.write_gradient) return;
  for (std::int64_t i = threadIdx.x * kCount; i < size; i += kThreads * kCount) {
    auto values = load_values<kCount>(logits + i);
#pragma unroll
    for (int j = 0; j < kCount; ++j) {
      values.at[j] = std::exp(values.at[j] - log_sum) - (i + j == label ? T{1} : T{0});
    }
    store_values(values, logits + i);
  }
}

template <typename Storage>
void run(const LinearCrossEntropyParams<Storage>& params, Stream stream) {
  const bool packs = fits_packs<Storage>(params.row_stride, params.logits_NV);
  launch(packs ? loss_row<Storage, kPackSize<Storage>> : loss_row<Storage, 1>,
         num_blocks(params.num_rows, 1), kThreads, 0, stream, params);
}

}  // namespace

void linear_cross_entropy(const LinearCrossEntropyParams<float>& params, Stream stream) {
  run(params, stream);
}
void linear_cross_entropy(const LinearCrossEntropyParams<double>& params, Stream stream) {
  run(params, stream);
}
void linear_cross_entropy(const LinearCrossEntropyParams<BFloat16>& params, Stream stream) {
  run(params, stream);
}

}  // namespace switchyard::kernels::cuda
