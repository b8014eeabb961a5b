// One warp per row, forward and backward; the backward pass reads gate, up and gradient once and
// writes everything that follows from them.
#include "switchyard/kernels/swiglu.h"

#include <cmath>
#include <cstdint>

#include "cuda/device.cuh"

namespace switchyard::kernels::cuda {
namespace {

template <typename Storage, int kCount>
__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock) forward(SwigluParams<Storage> params) {
  using T = accumulation_t<Storage>;
  const std::int64_t row = row_of_warp();
  if (row >= params.num_rows) return;
  const Storage* gate_F = params.gate_up_N2F + row * 2 * params.size;
  const Storage* up_F = gate_F + params.size;
  Storage* activation_F = params.activation_NF + row * params.size;
#pragma unroll 2
  for (std::int64_t f = threadIdx.x * kCount; f < params.size; f += kWarpSize * kCount) {
    const auto gate = load_values<kCount>(gate_F + f);
    const auto up = load_values<kCount>(up_F + f);
    Values<Storage, kCount> activation;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      activation.at[i] = gate.at[i] / (T{1} + std::exp(-gate.at[i])) * up.at[i];
    }
    store_values(activation, activation_F + f);
  }
}

template <typename Storage>
__device__ void fill_zero(Storage* out, std::int64_t count) {
  for (std::int64_t i = threadIdx.x; i < count; i += kWarpSize) out[i] = Storage{};
}

template <typename Storage, int kCount>
__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock)
    backward(SwigluBackwardParams<Storage> params) {
  using T = accumulation_t<Storage>;
  const std::int64_t row = row_of_warp();
  if (row >= params.padded_rows) return;
  const std::int64_t size = params.size;
  const bool with_activation = params.activation_NF != nullptr;
  Storage* dgate_F = params.dgate_up_N2F + row * 2 * size;
  Storage* activation_F = with_activation ? params.activation_NF + row * size : nullptr;
  if (row >= params.num_rows) {
    fill_zero(dgate_F, 2 * size);
    if (with_activation) fill_zero(activation_F, size);
    return;
  }
  const Storage* gate_F = params.gate_up_N2F + row * 2 * size;
  const Storage* d_F = params.d_NF + row * size;
  const T weight = params.row_weight_N == nullptr ? T{1} : params.row_weight_N[row];
  T dweight = 0;
  for (std::int64_t f = threadIdx.x * kCount; f < size; f += kWarpSize * kCount) {
    const auto gates = load_values<kCount>(gate_F + f);
    const auto ups = load_values<kCount>(gate_F + size + f);
    const auto ds = load_values<kCount>(d_F + f);
    Values<Storage, kCount> dgate;
    Values<Storage, kCount> dup;
    Values<Storage, kCount> activation;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const T gate = gates.at[i];
      const T up = ups.at[i];
      const T sigmoid = T{1} / (T{1} + std::exp(-gate));
      const T silu = gate * sigmoid;
      dweight += ds.at[i] * (silu * up);
      const T dactivation = weight * ds.at[i];
      dup.at[i] = dactivation * silu;
      dgate.at[i] = dactivation * up * sigmoid * (T{1} + gate * (T{1} - sigmoid));
      activation.at[i] = weight * (silu * up);
    }
    store_values(dgate, dgate_F + f);
    store_values(dup, dgate_F + size + f);
    if (with_activation) store_values(activation, activation_F + f);
  }
  if (params.dweight_N == nullptr) return;
  dweight = warp_sum(dweight);
  if (threadIdx.x == 0) params.dweight_N[row] = dweight;
}

template <typename Storage>
void run(const SwigluParams<Storage>& params, Stream stream) {
  const bool packs = fits_packs<Storage>(params.size, params.gate_up_N2F, params.activation_NF);
  launch(packs ? forward<Storage, kPackSize<Storage>> : forward<Storage, 1>,
         num_blocks(params.num_rows, kRowsPerBlock), kRowBlock, 0, stream, params);
}

template <typename Storage>
void run(const SwigluBackwardParams<Storage>& params, Stream stream) {
  const bool packs = fits_packs<Storage>(params.size, params.gate_up_N2F, params.d_NF,
                                         params.dgate_up_N2F, params.activation_NF);
  launch(packs ? backward<Storage, kPackSize<Storage>> : backward<Storage, 1>,
         num_blocks(params.padded_rows, kRowsPerBlock), kRowBlock, 0, stream, params);
}

}  // namespace

void swiglu(const SwigluParams<float>& params, Stream stream) {
  run(params, stream);
}
void swiglu(const SwigluParams<double>& params, Stream stream) {
  run(params, stream);
}
void swiglu(const SwigluParams<BFloat16>& params, Stream stream) {
  run(params, stream);
}
void swiglu_backward(const SwigluBackwardParams<float>& params, Stream stream) {
  run(params, stream);
}
void swiglu_backward(const SwigluBackwardParams<double>& params, Stream stream) {
  run(params, stream);
}
void swiglu_backward(const SwigluBackwardParams<BFloat16>& params, Stream stream) {
  run(params, stream);
}

}  // namespace switchyard::kernels::cuda
