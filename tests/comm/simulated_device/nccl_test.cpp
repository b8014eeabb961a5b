// The contract over NCCL, and what is NCCL's alone: ranks that are threads, each with a simulated
// device.
#include "switchyard/comm/nccl.h"

#include <gmock/gmock.h>

#include <cstdlib>
#include <string>

#include "comm/communicator_contract.h"
#include "comm/disagreements.h"
#include "comm/rows_contract.h"
#include "support/simulated_device/simulated_device.h"
#include "switchyard/comm/text.h"
#include "switchyard/comm/threads.h"

namespace switchyard::comm {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

c10::Device device_of(const Communicator& comm) {
  return {c10::kCUDA, static_cast<c10::DeviceIndex>(comm.rank())};
}

std::unique_ptr<Communicator> join(Communicator& threads, bool check_agreement) {
  const std::string id =
      text_of_first(threads, threads.rank() == 0 ? new_nccl_id() : "", "NCCL id");
  return join_nccl({.id = id,
                    .rank = threads.rank(),
                    .num_ranks = threads.size(),
                    .device = device_of(threads),
                    .check_agreement = check_agreement});
}

void run_on_devices(std::int64_t num_ranks, bool check_agreement, const Body& body) {
  run_ranks(num_ranks, [&](Communicator& threads) { body(*join(threads, check_agreement)); });
}
void run_unchecked(std::int64_t num_ranks, const Body& body) {
  run_on_devices(num_ranks, false, body);
}
void run_checked(std::int64_t num_ranks, const Body& body) {
  run_on_devices(num_ranks, true, body);
}

INSTANTIATE_TEST_SUITE_P(Nccl, CommunicatorContract,
                         ::testing::Values(Implementation{"nccl1", 1, &run_unchecked},
                                           Implementation{"nccl2", 2, &run_unchecked},
                                           Implementation{"nccl3", 3, &run_checked},
                                           Implementation{"nccl4", 4, &run_unchecked}),
                         [](const auto& instance) { return instance.param.name; });

TEST(NcclRanks, SettingsAreTheUsersWhereThereAreSome) {
  ::unsetenv("NCCL_ALGO");
  ::unsetenv("NCCL_RUNTIME_CONNECT");
  choose_nccl_settings(/*deterministic=*/false);
  EXPECT_EQ(std::getenv("NCCL_ALGO"), nullptr);
  EXPECT_STREQ(std::getenv("NCCL_RUNTIME_CONNECT"), "0");
  ::setenv("NCCL_RUNTIME_CONNECT", "1", 1);
  choose_nccl_settings(/*deterministic=*/true);
  EXPECT_STREQ(std::getenv("NCCL_ALGO"), "^NVLS,NVLSTree");
  EXPECT_STREQ(std::getenv("NCCL_RUNTIME_CONNECT"), "1");
  ::unsetenv("NCCL_ALGO");
  ::unsetenv("NCCL_RUNTIME_CONNECT");
}

TEST(NcclRanks, NeedAGpuEach) {
  run_ranks(2, [](Communicator& threads) {
    const std::string id =
        text_of_first(threads, threads.rank() == 0 ? new_nccl_id() : "", "NCCL id");
    try {
      (void)join_nccl({.id = id,
                       .rank = threads.rank(),
                       .num_ranks = threads.size(),
                       .device = {c10::kCUDA, 0}});
      ADD_FAILURE() << "two ranks on one";
    } catch (const UsageError& error) {
      EXPECT_THAT(error.what(), HasSubstr("Duplicate GPU"));
      EXPECT_THAT(error.hint(), HasSubstr("every rank needs a GPU of its own"));
    }
  });
}

TEST(NcclRanks, MemoryThatNcclLacksIsNoLostRank) {
  ::setenv("SWITCHYARD_SIMULATED_NCCL_ERROR", "Cuda failure 2 'out of memory'", 1);
  EXPECT_THROW((void)join_nccl({.id = new_nccl_id(), .num_ranks = 1, .device = {c10::kCUDA, 0}}),
               OutOfMemoryError);
  ::unsetenv("SWITCHYARD_SIMULATED_NCCL_ERROR");
}

// The contract's tensors are in host memory. Those of the device are where they are needed, and
// nobody waits.
TEST(NcclRanks, SendTensorsOfTheDeviceWithoutAWait) {
  run_ranks(2, [](Communicator& threads) {
    const std::unique_ptr<Communicator> joined = join(threads, false);
    Communicator& comm = *joined;
    const auto on_device = at::TensorOptions().device(device_of(comm));
    for (const at::ScalarType dtype : kDtypes) {
      at::Tensor sum = payload(comm.rank(), dtype).to(device_of(comm));
      at::Tensor root = payload(comm.rank(), dtype).to(device_of(comm));
      const at::Tensor own = payload(comm.rank(), dtype).to(device_of(comm));
      at::Tensor all = at::empty({12}, on_device.dtype(dtype));
      at::Tensor block = at::empty({3}, on_device.dtype(dtype));
      at::Tensor rows = at::empty({6}, on_device.dtype(dtype));
      const std::vector<std::int64_t> sent{comm.rank() == 0 ? 2 : 4, comm.rank() == 0 ? 4 : 2};
      threads.barrier("count from here");  // of both ranks
      (void)simulated_device::take_traffic();
      threads.barrier("counting");
      comm.all_reduce_sum(sum, "sum");
      comm.broadcast(root, 1, "root");
      comm.all_gather(own, all, "all");
      comm.reduce_scatter_sum(own, block, "block");
      comm.all_to_all(own, sent, rows, sent, "rows");
      threads.barrier("counted");
      const simulated_device::Traffic traffic = simulated_device::take_traffic();
      EXPECT_TRUE(traffic.waits.empty()) << to_string(traffic);
      EXPECT_TRUE(traffic.copies_to_host.empty()) << to_string(traffic);
      threads.barrier("looked");
      EXPECT_TRUE(at::equal(sum.cpu(), sum_of_payloads(2, dtype)));
      EXPECT_TRUE(at::equal(root.cpu(), payload(1, dtype)));
      EXPECT_TRUE(at::equal(all.cpu(), at::cat({payload(0, dtype), payload(1, dtype)})));
      EXPECT_TRUE(at::equal(block.cpu(), sum_of_payloads(2, dtype).narrow(0, 3 * comm.rank(), 3)));
      const at::Tensor expected =
          comm.rank() == 0
              ? at::cat({payload(0, dtype).narrow(0, 0, 2), payload(1, dtype).narrow(0, 0, 4)})
              : at::cat({payload(0, dtype).narrow(0, 2, 4), payload(1, dtype).narrow(0, 4, 2)});
      EXPECT_TRUE(at::equal(rows.cpu(), expected)) << at::toString(dtype);
    }
  });
}

// More than what the simulated ranks pass on at a time.
TEST(NcclRanks, SendLargeTensors) {
  run_unchecked(3, [](Communicator& comm) {
    const std::int64_t numel = 3 * 100'003;
    at::Tensor sum = at::arange(numel, at::kDouble).add_(static_cast<double>(comm.rank()));
    const at::Tensor own = sum.clone();
    comm.all_reduce_sum(sum, "sum");
    EXPECT_TRUE(at::equal(sum, at::arange(numel, at::kDouble).mul_(3).add_(3)));
    at::Tensor block = at::empty({numel / 3}, at::kDouble);
    comm.reduce_scatter_sum(own, block, "block");
    EXPECT_TRUE(at::equal(block, sum.narrow(0, comm.rank() * numel / 3, numel / 3)));
    at::Tensor all = at::empty({numel}, at::kDouble);
    comm.all_gather(block, all, "all");
    EXPECT_TRUE(at::equal(all, sum));
    const std::vector<std::int64_t> rows(3, numel / 3);
    comm.all_to_all(own, rows, all, rows, "rows");
    for (std::int64_t from = 0; from < 3; ++from) {
      EXPECT_EQ(all[from * numel / 3].item<double>(),
                static_cast<double>(comm.rank() * numel / 3 + from));
    }
  });
}

TEST(NcclRanks, RefuseTensorsOfAnotherDeviceAndTypesThatNcclDoesNotKnow) {
  run_unchecked(2, [](Communicator& comm) {
    at::Tensor elsewhere = at::ones({2}, at::TensorOptions().device(c10::kCUDA, 3));
    EXPECT_THROW(comm.all_reduce_sum(elsewhere, "x"), InternalError);
    at::Tensor flags = at::ones({2}, at::kBool);
    EXPECT_THROW(comm.broadcast(flags, 0, "x"), InternalError);
    comm.barrier("what was refused has broken nothing");
  });
}

std::string disagreement(void (*run)(std::int64_t, const Body&), const Body& collective) {
  try {
    run(2, collective);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(NcclRanks, AreToldWhenTheyAreInDifferentCollectives) {
  const Body body = [](Communicator& comm) {
    at::Tensor tensor = at::ones({comm.rank() == 1 ? 3 : 2});
    comm.all_reduce_sum(tensor, "grad");
  };
  EXPECT_THAT(disagreement(&run_checked, body),
              AllOf(HasSubstr("all_reduce_sum 'grad' of Float [3]"),
                    HasSubstr("all_reduce_sum 'grad' of Float [2]")));
  EXPECT_THAT(disagreement(&run_unchecked, body),
              AllOf(HasSubstr("all_reduce_sum 'grad': NCCL: invalid usage"),
                    HasSubstr("different collectives")))
      << "what NCCL itself says has the collective's name";
}

TEST(NcclRanks, AreToldWhenRowsDiffer) {
  const Body body = [](Communicator& comm) {
    const std::vector<std::int64_t> one_each{1, 1};
    const std::vector<std::int64_t> other{0, 2};
    at::Tensor rows = at::ones({2, 2});
    comm.all_to_all(at::ones({2, 2}), comm.rank() == 1 ? other : one_each, rows, one_each, "rows");
  };
  EXPECT_THAT(disagreement(&run_checked, body),
              HasSubstr("'rows': rank 1 sends 0 rows to rank 0, which expects 1"));
}

TEST(NcclRanks, AreToldWhenPartsDiffer) {
  EXPECT_THAT(disagreement(&run_checked, &disagree_about_the_second_part),
              HasSubstr(kSecondPartDiffers));
  EXPECT_THAT(disagreement(&run_checked, &disagree_about_the_number_of_parts),
              HasSubstr(kOtherNumberOfParts));
}

// As when a process dies: the others find out by themselves.
TEST(NcclRanks, EndWhenOneOfThemFails) {
  ::setenv("SWITCHYARD_SIMULATED_NCCL_PATIENCE_MS", "500", 1);
  EXPECT_THAT(disagreement(&run_unchecked,
                           [](Communicator& comm) {
                             if (comm.rank() == 1) throw DataError("no text");
                             at::Tensor tensor = at::ones({2});
                             comm.all_reduce_sum(tensor, "grad");
                           }),
              HasSubstr("no text"));
  ::unsetenv("SWITCHYARD_SIMULATED_NCCL_PATIENCE_MS");
}

TEST(NcclRanks, RefuseAnIdThatIsNone) {
  EXPECT_THROW((void)join_nccl({.id = "short"}), InternalError);
  EXPECT_THROW((void)join_nccl({.id = new_nccl_id(), .device = c10::kCPU}), InternalError);
}

}  // namespace
}  // namespace switchyard::comm
