#include "switchyard/kernels/top_k_route.h"

#include "cuda/route_choice.cuh"

namespace switchyard::kernels::cuda {
namespace {

template <typename T>
std::int64_t route(const TopKRouteParams<T>& params, Stream stream) {
  const ChoiceRule<T> rule{.limit = params.k, .limit_T = params.k_T};
  return choose_experts(params.in, rule, params.out, stream);
}

}  // namespace

std::int64_t top_k_route(const TopKRouteParams<float>& params, Stream stream) {
  return route(params, stream);
}
std::int64_t top_k_route(const TopKRouteParams<double>& params, Stream stream) {
  return route(params, stream);
}

}  // namespace switchyard::kernels::cuda
