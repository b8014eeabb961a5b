// One process, and ranks as threads, watched or not.
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "comm/communicator_contract.h"
#include "comm/rows_contract.h"
#include "switchyard/comm/beside.h"
#include "switchyard/comm/self.h"
#include "switchyard/comm/threads.h"
#include "switchyard/comm/watched.h"
#include "switchyard/core/error.h"

namespace switchyard::comm {
namespace {

void run_self(std::int64_t /*num_ranks*/, const Body& body) {
  body(*make_self_communicator());
}

// Who is watched does what the others do.
void run_watched(std::int64_t num_ranks, const Body& body) {
  run_ranks(num_ranks, [&](Communicator& ranks) { body(*watched(ranks.split(0, "watched"), {})); });
}

void run_beside(std::int64_t num_ranks, const Body& body) {
  run_ranks(num_ranks, [&](Communicator& ranks) { body(*beside(ranks)); });
}

INSTANTIATE_TEST_SUITE_P(All, CommunicatorContract,
                         ::testing::Values(Implementation{"self", 1, &run_self},
                                           Implementation{"threads1", 1, &run_ranks},
                                           Implementation{"threads2", 2, &run_ranks},
                                           Implementation{"threads3", 3, &run_ranks},
                                           Implementation{"threads4", 4, &run_ranks},
                                           Implementation{"watched3", 3, &run_watched},
                                           Implementation{"beside3", 3, &run_beside}),
                         [](const auto& instance) { return instance.param.name; });

TEST(SelfCommunicator, RefusesToExpectOtherRowsThanItSends) {
  RankRows sent;
  sent.add(0, 2);
  RankRows expected;
  expected.add(0, 1);
  at::Tensor receive = at::zeros({2, 1});
  EXPECT_THROW(
      make_self_communicator()->all_to_all(at::ones({2, 1}), sent, receive, expected, "rows"),
      InternalError);
}

}  // namespace
}  // namespace switchyard::comm
