#include "switchyard/kernels/rope.h"

#include <cstdint>

#include "switchyard/core/parallel.h"
#include "switchyard/kernels/simd.h"

namespace switchyard::kernels::cpu {
namespace {

template <typename Storage>
SWITCHYARD_SIMD_CLONES void rotate_tokens(const RopeParams<Storage>& params, std::int64_t begin,
                                          std::int64_t end) {
  using T = accumulation_t<Storage>;
  const std::int64_t half = params.head_dim / 2;
  const T sign = params.inverse ? T{-1} : T{1};
  for (std::int64_t token = begin; token < end; ++token) {
    const T* cos = params.cos + params.position_T[token] * half;
    const T* sin = params.sin + params.position_T[token] * half;
    for (std::int64_t head = 0; head < params.num_heads; ++head) {
      const Storage* in =
          params.in.data + token * params.in.token_stride + head * params.in.head_stride;
      Storage* out =
          params.out.data + token * params.out.token_stride + head * params.out.head_stride;
#pragma omp simd
      for (std::int64_t d = 0; d < half; ++d) {
        const T first = load(in[d]);
        const T second = load(in[d + half]);
        const T s = sign * sin[d];
        out[d] = store<Storage>(first * cos[d] - second * s);
        out[d + half] = store<Storage>(second * cos[d] + first * s);
      }
    }
  }
}

template <typename Storage>
void rotate(const RopeParams<Storage>& params) {
  parallel_for(params.num_tokens, 64,
               [&](std::int64_t begin, std::int64_t end) { rotate_tokens(params, begin, end); });
}

}  // namespace

void rope(const RopeParams<float>& params) {
  rotate(params);
}
void rope(const RopeParams<double>& params) {
  rotate(params);
}
void rope(const RopeParams<BFloat16>& params) {
  rotate(params);
}

}  // namespace switchyard::kernels::cpu
