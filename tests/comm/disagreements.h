// Ranks that do not agree about the parts of all_to_all, and what they are told.
#pragma once

#include <ATen/ops/ones.h>

#include <cstdint>

#include "switchyard/comm/communicator.h"

namespace switchyard::comm {

// Rank 1 sends rank 0 another second part than that expects.
inline void disagree_about_the_second_part(Communicator& comm) {
  RankRows usual;
  for (std::int64_t rank = 0; rank < comm.size(); ++rank) {
    usual.add(2 * rank, 1);
    usual.add(2 * rank + 1, 1);
  }
  RankRows other = usual;
  other.count[1] = 0;
  at::Tensor rows = at::ones({2 * comm.size(), 2});
  comm.all_to_all(at::ones({2 * comm.size(), 2}), comm.rank() == 1 ? other : usual, rows, usual,
                  "rows");
}
inline const char* const kSecondPartDiffers =
    "'rows': rank 1 sends 0 rows to rank 0, which expects 1";

// Rank 1 has two parts for each rank, the others one.
inline void disagree_about_the_number_of_parts(Communicator& comm) {
  RankRows parts;
  const std::int64_t num_parts = comm.rank() == 1 ? 2 : 1;
  for (std::int64_t i = 0; i < num_parts * comm.size(); ++i) parts.add(i, 1);
  at::Tensor rows = at::ones({num_parts * comm.size(), 2});
  comm.all_to_all(at::ones({num_parts * comm.size(), 2}), parts, rows, parts, "rows");
}
inline const char* const kOtherNumberOfParts = "all_to_all in 2 parts 'rows'";

}  // namespace switchyard::comm
