// One thread per pack of pairs (x[d], x[d + D/2]), token by token.
#include "switchyard/kernels/rope.h"

#include <cstdint>

#include "cuda/wide_values.cuh"

namespace switchyard::kernels::cuda {
namespace {

constexpr int kThreads = 256;

template <typename Storage, int kCount>
__global__ void __launch_bounds__(kThreads) rotate(RopeParams<Storage> params) {
  using T = accumulation_t<Storage>;
  const std::int64_t half = params.head_dim / 2;
  const std::int64_t packs = half / kCount;  // of one head
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= params.num_tokens * params.num_heads * packs) return;
  const std::int64_t d = i % packs * kCount;
  const std::int64_t head = i / packs % params.num_heads;
  const std::int64_t token = i / packs / params.num_heads;
  const Storage* in =
      params.in.data + token * params.in.token_stride + head * params.in.head_stride + d;
  Storage* out =
      params.out.data + token * params.out.token_stride + head * params.out.head_stride + d;
  const std::int64_t angle = params.position_T[token] * half + d;
  const auto cos = load_wide<Storage, kCount>(params.cos + angle);
  const auto sin = load_wide<Storage, kCount>(params.sin + angle);
  auto first = load_values<kCount>(in);
  auto second = load_values<kCount>(in + half);
#pragma unroll
  for (int j = 0; j < kCount; ++j) {
    const T s = params.inverse ? -sin.at[j] : sin.at[j];
    const T x = first.at[j];
    const T y = second.at[j];
    first.at[j] = x * cos.at[j] - y * s;
    second.at[j] = y * cos.at[j] + x * s;
  }
  store_values(first, out);
  store_values(second, out + half);
}

template <typename Storage>
void run(const RopeParams<Storage>& params, Stream stream) {
  const std::int64_t half = params.head_dim / 2;
  const bool packs = heads_fit_packs<Storage>(half, params.in, params.out) &&
                     fits_packs<Storage>(half, params.cos, params.sin);
  const std::int64_t count =
      params.num_tokens * params.num_heads * (packs ? half / kPackSize<Storage> : half);
  launch(packs ? rotate<Storage, kPackSize<Storage>> : rotate<Storage, 1>,
         num_blocks(count, kThreads), kThreads, 0, stream, params);
}

}  // namespace

void rope(const RopeParams<float>& params, Stream stream) {
  run(params, stream);
}
void rope(const RopeParams<double>& params, Stream stream) {
  run(params, stream);
}
void rope(const RopeParams<BFloat16>& params, Stream stream) {
  run(params, stream);
}

}  // namespace switchyard::kernels::cuda
