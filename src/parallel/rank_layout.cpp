#include "switchyard/parallel/rank_layout.h"

#include <string>

#include "switchyard/config/ranks.h"
#include "switchyard/core/error.h"

namespace switchyard::parallel {
namespace {

std::string values_that_divide(std::int64_t num_ranks, std::int64_t num_experts) {
  return fmt::format("valid values of parallel.expert: {}",
                     fmt::join(config::common_divisors(num_ranks, num_experts), ", "));
}

}  // namespace

moe::ExpertRange RankLayout::experts(std::int64_t num_experts) const {
  if (num_experts % expert != 0) {
    throw UsageError(fmt::format("model.moe.num_experts ({}) is not a multiple of parallel.expert "
                                 "({})",
                                 num_experts, expert),
                     values_that_divide(num_ranks, num_experts));
  }
  const std::int64_t count = num_experts / expert;
  return {.first = expert_idx() * count, .count = count};
}

RankLayout make_rank_layout(std::int64_t rank, std::int64_t num_ranks, std::int64_t expert) {
  SWITCHYARD_CHECK(rank >= 0 && rank < num_ranks, "rank {} of {}", rank, num_ranks);
  if (expert < 1 || num_ranks % expert != 0) {
    throw UsageError(fmt::format("{} rank(s) cannot be cut into groups of parallel.expert ({})",
                                 num_ranks, expert),
                     values_that_divide(num_ranks, 0));
  }
  return {.rank = rank, .num_ranks = num_ranks, .expert = expert};
}

}  // namespace switchyard::parallel
