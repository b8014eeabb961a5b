// Gradient of a route with respect to the logits, in closed form.
#pragma once

#include <cstdint>

#include "switchyard/kernels/route.h"
#include "switchyard/kernels/stream.h"

namespace switchyard::kernels {

// With g the incoming gradients, b(t) the token's sequence and w = P or P / sum of the chosen P:
//   dP_te  = gP_{b(t) e} + (e chosen: dL/dw through w)
//   dl_te  = P_e (dP_e - sum_f P_f dP_f)  -  gH (P_e log P_e + P_e H)  +  2 gZ lse P_e
// where P log P = 0 at P = 0. Null incoming gradients count as 0; invalid tokens get 0.
template <typename T>
struct RouteBackwardParams {
  RouteLogits<T> in;
  const T* softmax_T2 = nullptr;
  bool renormalize = false;
  std::int64_t num_sequences = 0;
  const std::int32_t* sequence_offset_B1 = nullptr;
  const std::int32_t* expert_offset_E1 = nullptr;  // [E+1]
  const std::int32_t* token_offset_T1 = nullptr;   // [T+1]
  const std::int32_t* token_row_N = nullptr;

  const T* grad_row_weight_N = nullptr;
  const T* grad_prob_sum_BE = nullptr;
  const T* grad_entropy_sum = nullptr;  // [1]
  const T* grad_z_sum = nullptr;        // [1]
  T* grad_logits_TE = nullptr;
};

namespace cpu {
void route_backward(const RouteBackwardParams<float>& params);
void route_backward(const RouteBackwardParams<double>& params);
}  // namespace cpu

namespace cuda {
void route_backward(const RouteBackwardParams<float>& params, Stream stream);
void route_backward(const RouteBackwardParams<double>& params, Stream stream);
}  // namespace cuda

}  // namespace switchyard::kernels
