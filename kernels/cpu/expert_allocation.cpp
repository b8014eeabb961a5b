#include "switchyard/kernels/expert_allocation.h"

#include <algorithm>
#include <cmath>
#include <queue>
#include <vector>

#include "switchyard/core/parallel.h"

namespace switchyard::kernels::cpu {
namespace {

template <typename T>
bool is_valid(const ExpertAllocationParams<T>& params, std::int64_t t) {
  return params.valid_T == nullptr || params.valid_T[t];
}

template <typename T>
double wanted(const ExpertAllocationParams<T>& params, std::int64_t t) {
  const double q = params.k_mean * static_cast<double>(params.importance_T[t]);
  return std::isnan(q) ? static_cast<double>(params.k_min) : q;
}

template <typename T>
std::int32_t clamp_count(const ExpertAllocationParams<T>& params, double count) {
  return static_cast<std::int32_t>(
      std::clamp(count, static_cast<double>(params.k_min), static_cast<double>(params.k_max)));
}

template <typename T>
void allocate_by_itself(const ExpertAllocationParams<T>& params, std::int64_t begin,
                        std::int64_t end) {
  for (std::int64_t t = begin; t < end; ++t) {
    const double q = wanted(params, t);
    // nearbyint: half to even, the rounding mode that no one changes.
    const double rounded =
        params.rule == AllocationRule::ceiling ? std::ceil(q) : std::nearbyint(q);
    params.k_T[t] = is_valid(params, t) ? clamp_count(params, rounded) : 0;
  }
}

struct Remainder {
  double value;  // q_t - K_t
  std::int64_t token;
};
struct SmallerOrLater {  // a queue with it serves the largest remainder, then the lower position
  bool operator()(const Remainder& a, const Remainder& b) const {
    return a.value < b.value || (a.value == b.value && a.token > b.token);
  }
};
struct LargerOrEarlier {  // the smallest remainder, then the higher position
  bool operator()(const Remainder& a, const Remainder& b) const {
    return a.value > b.value || (a.value == b.value && a.token < b.token);
  }
};

// Moves counts by `step` (+1 or -1), each time where Order asks, until `missing` moves are made.
template <typename Order, typename T>
void correct(const ExpertAllocationParams<T>& params, std::int64_t begin, std::int64_t end,
             std::int32_t step, std::int64_t missing) {
  const std::int64_t bound = step > 0 ? params.k_max : params.k_min;
  std::priority_queue<Remainder, std::vector<Remainder>, Order> queue;
  const auto offer = [&](std::int64_t t) {
    if (params.k_T[t] != bound) queue.push({wanted(params, t) - params.k_T[t], t});
  };
  for (std::int64_t t = begin; t < end; ++t) {
    if (is_valid(params, t)) offer(t);
  }
  for (; missing > 0; --missing) {
    const std::int64_t t = queue.top().token;
    queue.pop();
    params.k_T[t] += step;
    offer(t);
  }
}

template <typename T>
void allocate_budget(const ExpertAllocationParams<T>& params, std::int64_t begin,
                     std::int64_t end) {
  std::int64_t num_valid = 0;
  std::int64_t sum = 0;
  for (std::int64_t t = begin; t < end; ++t) {
    params.k_T[t] = 0;
    if (!is_valid(params, t)) continue;
    params.k_T[t] = clamp_count(params, std::floor(wanted(params, t)));
    sum += params.k_T[t];
    ++num_valid;
  }
  const auto asked =
      static_cast<std::int64_t>(std::nearbyint(params.k_mean * static_cast<double>(num_valid)));
  const std::int64_t budget = std::clamp(asked, num_valid * params.k_min, num_valid * params.k_max);
  if (sum < budget) correct<SmallerOrLater>(params, begin, end, 1, budget - sum);
  if (sum > budget) correct<LargerOrEarlier>(params, begin, end, -1, sum - budget);
}

template <typename T>
void allocate(const ExpertAllocationParams<T>& params) {
  if (params.rule == AllocationRule::budget) {
    parallel_for(params.num_sequences, 1, [&](std::int64_t b, std::int64_t /*end*/) {
      allocate_budget(params, params.sequence_offset_B1[b], params.sequence_offset_B1[b + 1]);
    });
  } else {
    parallel_for(params.num_tokens, 4096, [&](std::int64_t begin, std::int64_t end) {
      allocate_by_itself(params, begin, end);
    });
  }
}

}  // namespace

void expert_allocation(const ExpertAllocationParams<float>& params) {
  allocate(params);
}
void expert_allocation(const ExpertAllocationParams<double>& params) {
  allocate(params);
}

}  // namespace switchyard::kernels::cpu
