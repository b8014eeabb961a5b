// How ranks share the work: everything but the experts is replicated on all of them; the experts
// are spread over the ranks of an expert group, and every expert group holds all of them.
//
// Six ranks, two to an expert group:
//
//   rank         0  1  2  3  4  5
//   expert group 0  0  1  1  2  2     exchanges tokens
//   experts      A  B  A  B  A  B     the ranks with the same ones are a replica group
#pragma once

#include <cstdint>

#include "switchyard/moe/dispatcher.h"

namespace switchyard::parallel {

struct RankLayout {
  std::int64_t rank = 0;
  std::int64_t num_ranks = 1;
  std::int64_t expert = 1;  // ranks of an expert group: parallel.expert

  // This rank's number in its expert group; ranks with the same one are a replica group.
  [[nodiscard]] std::int64_t expert_idx() const { return rank % expert; }
  // This rank's number in its replica group; ranks with the same one are an expert group.
  [[nodiscard]] std::int64_t replica_idx() const { return rank / expert; }
  // Those that this rank holds of the `num_experts` of every layer. Throws UsageError, listing the
  // values of parallel.expert that would do, unless each rank of an expert group gets equally many.
  [[nodiscard]] moe::ExpertRange experts(std::int64_t num_experts) const;
};

// Throws UsageError, listing the values of parallel.expert that would do, unless expert groups of
// that size use up all ranks.
[[nodiscard]] RankLayout make_rank_layout(std::int64_t rank, std::int64_t num_ranks,
                                          std::int64_t expert);

}  // namespace switchyard::parallel
