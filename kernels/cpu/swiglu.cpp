#include "switchyard/kernels/swiglu.h"

#include <algorithm>

#include "cpu/row_block.h"
#include "switchyard/core/parallel.h"
#include "switchyard/kernels/exp.h"
#include "switchyard/kernels/simd.h"

namespace switchyard::kernels::cpu {
namespace {

template <typename Storage>
SWITCHYARD_SIMD_CLONES void forward_rows(const SwigluParams<Storage>& params, std::int64_t begin,
                                         std::int64_t end) {
  using T = accumulation_t<Storage>;
  const std::int64_t size = params.size;
  for (std::int64_t row = begin; row < end; ++row) {
    const Storage* gate_F = params.gate_up_N2F + row * 2 * size;
    const Storage* up_F = gate_F + size;
    Storage* activation_F = params.activation_NF + row * size;
#pragma omp simd
    for (std::int64_t f = 0; f < size; ++f) {
      const T gate = load(gate_F[f]);
      activation_F[f] = store<Storage>(gate / (T{1} + exponential(-gate)) * load(up_F[f]));
    }
  }
}

// `activation_F` may be null only when kActivation is false.
template <bool kActivation, typename Storage, typename T = accumulation_t<Storage>>
[[gnu::always_inline]] inline T backward_row(const Storage* gate_F, const Storage* up_F,
                                             const Storage* d_F, T weight, std::int64_t size,
                                             Storage* dgate_F, Storage* dup_F,
                                             Storage* activation_F) {
  T dweight = 0;
#pragma omp simd reduction(+ : dweight)
  for (std::int64_t f = 0; f < size; ++f) {
    const T gate = load(gate_F[f]);
    const T up = load(up_F[f]);
    const T d = load(d_F[f]);
    const T sigmoid = T{1} / (T{1} + exponential(-gate));
    const T silu = gate * sigmoid;
    dweight += d * (silu * up);
    const T dactivation = weight * d;
    dup_F[f] = store<Storage>(dactivation * silu);
    dgate_F[f] = store<Storage>(dactivation * up * sigmoid * (T{1} + gate * (T{1} - sigmoid)));
    if constexpr (kActivation) activation_F[f] = store<Storage>(weight * (silu * up));
  }
  return dweight;
}

template <typename Storage>
SWITCHYARD_SIMD_CLONES void backward_rows(const SwigluBackwardParams<Storage>& params,
                                          std::int64_t begin, std::int64_t end) {
  using T = accumulation_t<Storage>;
  const std::int64_t size = params.size;
  for (std::int64_t row = begin; row < end; ++row) {
    const Storage* gate_F = params.gate_up_N2F + row * 2 * size;
    const Storage* d_F = params.d_NF + row * size;
    Storage* dgate_F = params.dgate_up_N2F + row * 2 * size;
    if (row >= params.num_rows) {
      std::fill_n(dgate_F, 2 * size, Storage{});
      if (params.activation_NF != nullptr) {
        std::fill_n(params.activation_NF + row * size, size, Storage{});
      }
      continue;
    }
    const T weight = params.row_weight_N == nullptr ? T{1} : params.row_weight_N[row];
    const T dweight =
        params.activation_NF == nullptr
            ? backward_row<false, Storage>(gate_F, gate_F + size, d_F, weight, size, dgate_F,
                                           dgate_F + size, nullptr)
            : backward_row<true, Storage>(gate_F, gate_F + size, d_F, weight, size, dgate_F,
                                          dgate_F + size, params.activation_NF + row * size);
    if (params.dweight_N != nullptr) params.dweight_N[row] = dweight;
  }
}

template <typename Storage>
void forward(const SwigluParams<Storage>& params) {
  parallel_for(params.num_rows, rows_per_block(params.size),
               [&](std::int64_t begin, std::int64_t end) { forward_rows(params, begin, end); });
}

template <typename Storage>
void backward(const SwigluBackwardParams<Storage>& params) {
  parallel_for(params.padded_rows, rows_per_block(params.size),
               [&](std::int64_t begin, std::int64_t end) { backward_rows(params, begin, end); });
}

}  // namespace

void swiglu(const SwigluParams<float>& params) {
  forward(params);
}
void swiglu(const SwigluParams<double>& params) {
  forward(params);
}
void swiglu(const SwigluParams<BFloat16>& params) {
  forward(params);
}
void swiglu_backward(const SwigluBackwardParams<float>& params) {
  backward(params);
}
void swiglu_backward(const SwigluBackwardParams<double>& params) {
  backward(params);
}
void swiglu_backward(const SwigluBackwardParams<BFloat16>& params) {
  backward(params);
}

}  // namespace switchyard::kernels::cpu
