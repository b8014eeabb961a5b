#include "switchyard/kernels/linear_cross_entropy.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "switchyard/core/parallel.h"
#include "switchyard/kernels/exp.h"
#include "switchyard/kernels/simd.h"

namespace switchyard::kernels::cpu {
namespace {

template <typename Storage>
SWITCHYARD_SIMD_CLONES void loss_rows(const LinearCrossEntropyParams<Storage>& params,
                                      std::int64_t begin, std::int64_t end) {
  using T = accumulation_t<Storage>;
  const std::int64_t size = params.vocab_size;
  for (std::int64_t row = begin; row < end; ++row) {
    Storage* logits = params.logits_NV + row * params.row_stride;
    const std::int64_t label = params.label_N[row];
    if (label < 0) {
      params.loss_N[row] = T{0};
      if (params.write_gradient) std::fill(logits, logits + size, Storage{});
      continue;
    }
    T largest = -std::numeric_limits<T>::infinity();
#pragma omp simd reduction(max : largest)
    for (std::int64_t i = 0; i < size; ++i) {
      const T logit = load(logits[i]);
      largest = logit > largest ? logit : largest;
    }
    T sum = T{0};
#pragma omp simd reduction(+ : sum)
    for (std::int64_t i = 0; i < size; ++i) sum += exponential(load(logits[i]) - largest);
    const T log_sum = largest + std::log(sum);
    params.loss_N[row] = log_sum - load(logits[label]);
    if (!params.write_gradient) continue;
    const T at_label = exponential(load(logits[label]) - log_sum) - T{1};
#pragma omp simd
    for (std::int64_t i = 0; i < size; ++i) {
      logits[i] = store<Storage>(exponential(load(logits[i]) - log_sum));
    }
    logits[label] = store<Storage>(at_label);
  }
}

template <typename Storage>
void loss(const LinearCrossEntropyParams<Storage>& params) {
  parallel_for(params.num_rows, 8,
               [&](std::int64_t begin, std::int64_t end) { loss_rows(params, begin, end); });
}

}  // namespace

void linear_cross_entropy(const LinearCrossEntropyParams<float>& params) {
  loss(params);
}
void linear_cross_entropy(const LinearCrossEntropyParams<double>& params) {
  loss(params);
}
void linear_cross_entropy(const LinearCrossEntropyParams<BFloat16>& params) {
  loss(params);
}

}  // namespace switchyard::kernels::cpu
