#include "switchyard/kernels/top_p_route.h"

#include "cpu/route_choice.h"

namespace switchyard::kernels::cpu {
namespace {

template <typename T>
std::int64_t route(const TopPRouteParams<T>& params) {
  ChoiceRule<T> rule;
  rule.limit = params.max_experts;
  // A p that rounds to 1 keeps every expert as well: the sum might reach 1 early or never.
  const T target = static_cast<T>(params.p);
  if (target < T{1}) rule.target = target;
  return choose_experts(params.in, rule, params.out);
}

}  // namespace

std::int64_t top_p_route(const TopPRouteParams<float>& params) {
  return route(params);
}
std::int64_t top_p_route(const TopPRouteParams<double>& params) {
  return route(params);
}

}  // namespace switchyard::kernels::cpu
