// Chooses for each token its k most probable experts; k may differ between tokens.
#pragma once

#include <cstdint>

#include "switchyard/kernels/route.h"
#include "switchyard/kernels/stream.h"

namespace switchyard::kernels {

template <typename T>
struct TopKRouteParams {
  RouteLogits<T> in;
  std::int64_t k = 0;                 // 0..E; used where k_T is null
  const std::int32_t* k_T = nullptr;  // each clamped to 0..E
  RouteChoice<T> out;
};

// Invalid tokens get no expert; a token without any finite logit gets expert 0 (if k > 0).
// Returns N.
namespace cpu {
std::int64_t top_k_route(const TopKRouteParams<float>& params);
std::int64_t top_k_route(const TopKRouteParams<double>& params);
}  // namespace cpu

namespace cuda {
std::int64_t top_k_route(const TopKRouteParams<float>& params, Stream stream);
std::int64_t top_k_route(const TopKRouteParams<double>& params, Stream stream);
}  // namespace cuda

}  // namespace switchyard::kernels
