// The second step of a route: both compressed-sparse-row views of the chosen (token, expert) pairs
// by a stable counting sort, their weights, and the sums that losses and records are made of.
#pragma once

#include <cstdint>

#include "switchyard/kernels/route.h"
#include "switchyard/kernels/stream.h"

namespace switchyard::kernels {

template <typename T>
struct RouteRowsParams {
  RouteLogits<T> in;
  RouteChoice<T> choice;     // read only
  bool renormalize = false;  // weights of a token sum to 1
  std::int64_t num_sequences = 0;
  const std::int32_t* sequence_offset_B1 = nullptr;

  std::int32_t* expert_offset_E1 = nullptr;  // [E+1]
  std::int32_t* row_token_N = nullptr;       // expert-major, ascending token
  std::int32_t* token_row_N = nullptr;       // rows of a token, ascending expert
  T* row_weight_N = nullptr;

  // Sums over valid tokens; partial sums are of fixed blocks, in double.
  std::int64_t* count_BE = nullptr;
  std::int64_t* num_tokens_B = nullptr;
  std::int64_t* k_histogram_E1 = nullptr;  // [E+1]
  T* prob_sum_BE = nullptr;
  T* entropy_sum = nullptr;  // [1] -sum P log P, nats
  T* z_sum = nullptr;        // [1] logsumexp(logits)^2
};

namespace cpu {
void route_rows(const RouteRowsParams<float>& params);
void route_rows(const RouteRowsParams<double>& params);
}  // namespace cpu

namespace cuda {
void route_rows(const RouteRowsParams<float>& params, Stream stream);
void route_rows(const RouteRowsParams<double>& params, Stream stream);
}  // namespace cuda

}  // namespace switchyard::kernels
