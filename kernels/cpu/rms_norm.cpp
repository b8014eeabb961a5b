#include "switchyard/kernels/rms_norm.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "switchyard/core/parallel.h"
#include "switchyard/kernels/simd.h"

namespace switchyard::kernels::cpu {
namespace {

constexpr std::int64_t kRowBlock = 64;

template <typename Storage>
SWITCHYARD_SIMD_CLONES void forward_rows(const RmsNormParams<Storage>& params, std::int64_t begin,
                                         std::int64_t end) {
  using T = accumulation_t<Storage>;
  const std::int64_t size = params.row_size;
  const T* weight = params.weight_H;
  for (std::int64_t row = begin; row < end; ++row) {
    const Storage* x = params.x + row * size;
    Storage* y = params.y + row * size;
    T square = T{0};
#pragma omp simd reduction(+ : square)
    for (std::int64_t i = 0; i < size; ++i) square += load(x[i]) * load(x[i]);
    const T mean = square / static_cast<T>(size);
    const T inverse = T{1} / std::sqrt(mean + static_cast<T>(params.eps));
    params.inverse_N[row] = inverse;
#pragma omp simd
    for (std::int64_t i = 0; i < size; ++i) {
      y[i] = store<Storage>(load(x[i]) * inverse * weight[i]);
    }
  }
}

// With x^ = x * inverse: dx = inverse * (w dy - x^ mean(w dy x^)), dw += dy x^.
template <typename Storage>
SWITCHYARD_SIMD_CLONES void backward_rows(const RmsNormBackwardParams<Storage>& params,
                                          std::int64_t begin, std::int64_t end,
                                          accumulation_t<Storage>* dweight) {
  using T = accumulation_t<Storage>;
  const std::int64_t size = params.row_size;
  const T* weight = params.weight_H;
  for (std::int64_t row = begin; row < end; ++row) {
    const Storage* x = params.x + row * size;
    const Storage* dy = params.dy + row * size;
    Storage* dx = params.dx + row * size;
    const T inverse = params.inverse_N[row];
    T dot = T{0};
#pragma omp simd reduction(+ : dot)
    for (std::int64_t i = 0; i < size; ++i) {
      const T product = load(dy[i]) * load(x[i]) * inverse;
      dweight[i] += product;
      dot += product * weight[i];
    }
    const T mean = dot / static_cast<T>(size);
#pragma omp simd
    for (std::int64_t i = 0; i < size; ++i) {
      dx[i] = store<Storage>(inverse * (load(dy[i]) * weight[i] - load(x[i]) * inverse * mean));
    }
  }
}

template <typename T>
SWITCHYARD_SIMD_CLONES void add_rows(const T* partial, std::int64_t num_partials, std::int64_t size,
                                     T* sum) {
  std::fill(sum, sum + size, T{0});
  for (std::int64_t block = 0; block < num_partials; ++block) {
    for (std::int64_t i = 0; i < size; ++i) sum[i] += partial[block * size + i];
  }
}

template <typename Storage>
void forward(const RmsNormParams<Storage>& params) {
  parallel_for(params.num_rows, kRowBlock,
               [&](std::int64_t begin, std::int64_t end) { forward_rows(params, begin, end); });
}

template <typename Storage>
void backward(const RmsNormBackwardParams<Storage>& params) {
  using T = accumulation_t<Storage>;
  const std::int64_t num_blocks = (params.num_rows + kRowBlock - 1) / kRowBlock;
  std::vector<T> partial(static_cast<std::size_t>(num_blocks * params.row_size), T{0});
  parallel_for(params.num_rows, kRowBlock, [&](std::int64_t begin, std::int64_t end) {
    backward_rows(params, begin, end, partial.data() + begin / kRowBlock * params.row_size);
  });
  add_rows(partial.data(), num_blocks, params.row_size, params.dweight_H);
}

}  // namespace

void rms_norm(const RmsNormParams<float>& params) {
  forward(params);
}
void rms_norm(const RmsNormParams<double>& params) {
  forward(params);
}
void rms_norm(const RmsNormParams<BFloat16>& params) {
  forward(params);
}
void rms_norm_backward(const RmsNormBackwardParams<float>& params) {
  backward(params);
}
void rms_norm_backward(const RmsNormBackwardParams<double>& params) {
  backward(params);
}
void rms_norm_backward(const RmsNormBackwardParams<BFloat16>& params) {
  backward(params);
}

}  // namespace switchyard::kernels::cpu
