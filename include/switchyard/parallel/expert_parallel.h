// Expert parallelism: every rank of an expert group holds some of a layer's experts, and rows
// travel to the rank of their expert and back.
//
//   1 every rank routes its own tokens;
//   2 the ranks tell each other how many rows each expert gets;
//   3 rows go out, and arrive ordered by expert, with their weights, which backward needs there;
//   4 what has arrived is a batch of tokens that have one expert each, and moe_ffn computes it;
//   5 the results come home, 6 where a token's are added up, each times its weight.
//
// Rows travel in chunks, of which each has some experts of every rank: while the experts of one
// compute, the rows of the next and the results of the one before are under way, where the group
// can do that (Communicator::begin). Chunks change no bit of any result.
//
// Backward goes the same way: gradients of results go out, those of rows (compute dtype) and of row
// weights (accumulation type) come home, so that the router learns from experts elsewhere. Any
// number of rows may be 0: a rank without tokens and an expert without rows take part all the same.
#pragma once

#include <cstdint>

#include "switchyard/moe/dispatcher.h"
#include "switchyard/parallel/rank_groups.h"

namespace switchyard::parallel {

// For models whose layers have `num_experts` experts: those of this rank, and the exchange with the
// expert group, in `num_chunks` chunks, which divide a rank's experts; nothing to exchange when the
// group is one rank. `groups` must outlive the model and its graphs. Throws UsageError as
// RankLayout::experts does.
[[nodiscard]] moe::ExpertPlacement expert_placement(RankGroups& groups, std::int64_t num_experts,
                                                    std::int64_t num_chunks = 1);

}  // namespace switchyard::parallel
