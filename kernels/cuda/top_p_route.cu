#include "switchyard/kernels/top_p_route.h"

#include "cuda/route_choice.cuh"

namespace switchyard::kernels::cuda {
namespace {

template <typename T>
std::int64_t route(const TopPRouteParams<T>& params, Stream stream) {
  // A p that rounds to 1 keeps every expert as well: the sum might reach 1 early or never.
  const T target = static_cast<T>(params.p);
  const ChoiceRule<T> rule{
      .limit = params.max_experts, .has_target = target < T{1}, .target = target};
  return choose_experts(params.in, rule, params.out, stream);
}

}  // namespace

std::int64_t top_p_route(const TopPRouteParams<float>& params, Stream stream) {
  return route(params, stream);
}
std::int64_t top_p_route(const TopPRouteParams<double>& params, Stream stream) {
  return route(params, stream);
}

}  // namespace switchyard::kernels::cuda
