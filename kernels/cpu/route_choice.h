// The choice per token that top_p_route and top_k_route share: experts in order, up to a limit,
// until their probabilities reach a target.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "cpu/route_order.h"
#include "switchyard/core/parallel.h"
#include "switchyard/kernels/exp.h"
#include "switchyard/kernels/route.h"
#include "switchyard/kernels/simd.h"

namespace switchyard::kernels::cpu {

template <typename T>
struct ChoiceRule {
  std::int64_t limit = 0;
  const std::int32_t* limit_T = nullptr;  // instead of `limit`, when not null
  std::optional<T> target;                // stop once the cumulative probability is not below
};

template <typename T>
class TokenChooser {
 public:
  explicit TokenChooser(std::int64_t num_experts)
      : num_experts_(num_experts),
        exp_E_(static_cast<std::size_t>(num_experts)),
        heap_(static_cast<std::size_t>(num_experts)) {}

  struct Choice {
    T max = 0;
    T sum = 0;
    std::int32_t count = 0;
    std::int32_t last = -1;
  };

  [[gnu::always_inline]] Choice choose(const T* logits_E, std::int64_t limit,
                                       const std::optional<T>& target) {
    Choice choice;
    choice.max = -std::numeric_limits<T>::infinity();
    for (std::int64_t e = 0; e < num_experts_; ++e) {
      if (logits_E[e] > choice.max) choice.max = logits_E[e];
    }
    T* exp_E = exp_E_.data();
    const T max = choice.max;
    T sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t e = 0; e < num_experts_; ++e) {
      exp_E[e] = exponential(logits_E[e] - max);
      sum += exp_E[e];
    }
    choice.sum = sum;
    if (limit == 0) return choice;
    if (!std::isfinite(max) && std::none_of(logits_E, logits_E + num_experts_,
                                            [](T logit) { return std::isfinite(logit); })) {
      choice.count = 1;
      choice.last = 0;
      return choice;
    }
    // A heap: O(E) to build, O(log E) for each expert kept; few are.
    for (std::int64_t e = 0; e < num_experts_; ++e) {
      heap_[static_cast<std::size_t>(e)] = {order_key(logits_E[e]), static_cast<std::int32_t>(e)};
    }
    std::make_heap(heap_.begin(), heap_.end());
    auto heap_end = heap_.end();
    T cumulative = 0;
    while (choice.count < limit) {
      std::pop_heap(heap_.begin(), heap_end);
      --heap_end;
      choice.last = heap_end->expert;
      ++choice.count;
      cumulative += exp_E[choice.last] / sum;
      if (target && !(cumulative < *target)) break;  // negated: a NaN stops too
    }
    return choice;
  }

 private:
  struct Candidate {
    decltype(order_key(T{})) key;
    std::int32_t expert;
    friend bool operator<(const Candidate& a, const Candidate& b) {
      return a.key < b.key || (a.key == b.key && a.expert > b.expert);
    }
  };

  std::int64_t num_experts_;
  std::vector<T> exp_E_;
  std::vector<Candidate> heap_;
};

// Leaves each token's number of experts in token_offset_T1[t + 1].
template <typename T>
SWITCHYARD_SIMD_CLONES void choose_tokens(const RouteLogits<T>& in, const ChoiceRule<T>& rule,
                                          const RouteChoice<T>& out, std::int64_t begin,
                                          std::int64_t end) {
  TokenChooser<T> chooser(in.num_experts);
  for (std::int64_t t = begin; t < end; ++t) {
    const bool valid = in.valid_T == nullptr || in.valid_T[t];
    std::int64_t limit = 0;
    if (valid) limit = rule.limit_T == nullptr ? rule.limit : rule.limit_T[t];
    const auto choice =
        chooser.choose(in.logits_TE + t * in.num_experts,
                       std::clamp(limit, std::int64_t{0}, in.num_experts), rule.target);
    out.softmax_T2[2 * t] = choice.max;
    out.softmax_T2[2 * t + 1] = choice.sum;
    out.last_expert_T[t] = choice.last;
    out.token_offset_T1[t + 1] = choice.count;
  }
}

// Returns N.
template <typename T>
std::int64_t choose_experts(const RouteLogits<T>& in, const ChoiceRule<T>& rule,
                            const RouteChoice<T>& out) {
  parallel_for(in.num_tokens, 512, [&](std::int64_t begin, std::int64_t end) {
    choose_tokens(in, rule, out, begin, end);
  });
  std::int64_t num_rows = 0;
  out.token_offset_T1[0] = 0;
  for (std::int64_t t = 1; t <= in.num_tokens; ++t) {
    num_rows += out.token_offset_T1[t];
    out.token_offset_T1[t] = static_cast<std::int32_t>(num_rows);
  }
  return num_rows;
}

}  // namespace switchyard::kernels::cpu
