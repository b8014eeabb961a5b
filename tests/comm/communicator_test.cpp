// One process, and ranks as threads.
#include "comm/communicator_contract.h"
#include "switchyard/comm/self.h"
#include "switchyard/comm/threads.h"

namespace switchyard::comm {
namespace {

void run_self(std::int64_t /*num_ranks*/, const Body& body) {
  body(*make_self_communicator());
}

INSTANTIATE_TEST_SUITE_P(All, CommunicatorContract,
                         ::testing::Values(Implementation{"self", 1, &run_self},
                                           Implementation{"threads1", 1, &run_ranks},
                                           Implementation{"threads2", 2, &run_ranks},
                                           Implementation{"threads3", 3, &run_ranks},
                                           Implementation{"threads4", 4, &run_ranks}),
                         [](const auto& instance) { return instance.param.name; });

}  // namespace
}  // namespace switchyard::comm
