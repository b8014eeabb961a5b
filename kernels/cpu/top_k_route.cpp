#include "switchyard/kernels/top_k_route.h"

#include "cpu/route_choice.h"

namespace switchyard::kernels::cpu {
namespace {

template <typename T>
std::int64_t route(const TopKRouteParams<T>& params) {
  ChoiceRule<T> rule;
  rule.limit = params.k;
  rule.limit_T = params.k_T;
  return choose_experts(params.in, rule, params.out);
}

}  // namespace

std::int64_t top_k_route(const TopKRouteParams<float>& params) {
  return route(params);
}
std::int64_t top_k_route(const TopKRouteParams<double>& params) {
  return route(params);
}

}  // namespace switchyard::kernels::cpu
