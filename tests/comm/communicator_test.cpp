// One process, and ranks as threads, watched or not.
#include "comm/communicator_contract.h"
#include "switchyard/comm/beside.h"
#include "switchyard/comm/self.h"
#include "switchyard/comm/threads.h"
#include "switchyard/comm/watched.h"

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

}  // namespace
}  // namespace switchyard::comm
