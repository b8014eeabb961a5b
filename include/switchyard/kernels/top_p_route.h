// Chooses for each token the shortest prefix of its experts whose probabilities sum to p or more.
#pragma once

#include <cstdint>

#include "switchyard/kernels/route.h"
#include "switchyard/kernels/stream.h"

namespace switchyard::kernels {

template <typename T>
struct TopPRouteParams {
  RouteLogits<T> in;
  double p = 1.0;                // in (0, 1], compared after conversion to T; 1 keeps every expert
  std::int64_t max_experts = 0;  // 1..E
  RouteChoice<T> out;
};

// Invalid tokens get no expert. Probabilities of a token with a NaN or +Inf logit are all NaN and
// its prefix then is one expert; without any finite logit it is expert 0. Returns N.
namespace cpu {
std::int64_t top_p_route(const TopPRouteParams<float>& params);
std::int64_t top_p_route(const TopPRouteParams<double>& params);
}  // namespace cpu

namespace cuda {
std::int64_t top_p_route(const TopPRouteParams<float>& params, Stream stream);
std::int64_t top_p_route(const TopPRouteParams<double>& params, Stream stream);
}  // namespace cuda

}  // namespace switchyard::kernels
