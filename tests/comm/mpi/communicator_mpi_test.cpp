// The contract over MPI, and what goes wrong between processes. Started by mpirun: every rank runs
// every test in the same order; the first one's results count.
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>
#include <gmock/gmock.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "comm/communicator_contract.h"
#include "comm/disagreements.h"
#include "comm/rows_contract.h"
#include "switchyard/comm/mpi.h"

namespace switchyard::comm {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::unique_ptr<Communicator> world;  // while main runs

void run_mpi(std::int64_t /*num_ranks*/, const Body& body) {
  body(*world->split(0, "test"));
}

INSTANTIATE_TEST_SUITE_P(All, CommunicatorContract,
                         ::testing::Values(Implementation{"mpi", 4, &run_mpi}),
                         [](const auto& instance) { return instance.param.name; });

// What every rank is told when rank 1 does something else than the others.
std::string disagreement(const Body& collective) {
  try {
    collective(*world->split(0, "disagreement"));
  } catch (const InternalError& error) {
    return error.what();
  }
  return {};
}

TEST(MpiRanks, AreAllToldWhenTheyAreInDifferentCollectives) {
  const std::string message = disagreement([](Communicator& comm) {
    at::Tensor tensor = at::ones({comm.rank() == 1 ? 3 : 2});
    comm.all_reduce_sum(tensor, "grad");
  });
  EXPECT_THAT(message, AllOf(HasSubstr("rank 1 of disagreement"),
                             HasSubstr("all_reduce_sum 'grad' of Float [3]"),
                             HasSubstr("all_reduce_sum 'grad' of Float [2]")));
}

TEST(MpiRanks, AreAllToldWhenRowsDiffer) {
  const std::string message = disagreement([](Communicator& comm) {
    const std::vector<std::int64_t> one_each{1, 1, 1, 1};
    const std::vector<std::int64_t> other{1, 0, 2, 1};
    at::Tensor rows = at::ones({4, 2});
    comm.all_to_all(at::ones({4, 2}), comm.rank() == 1 ? other : one_each, rows, one_each, "rows");
  });
  EXPECT_THAT(message, HasSubstr("'rows': rank 1 sends 0 rows to rank 1, which expects 1"));
}

TEST(MpiRanks, AreAllToldWhenPartsDiffer) {
  EXPECT_THAT(disagreement(&disagree_about_the_second_part), HasSubstr(kSecondPartDiffers));
  EXPECT_THAT(disagreement(&disagree_about_the_number_of_parts), HasSubstr(kOtherNumberOfParts));
}

TEST(MpiRanks, RefuseTensorsThatAreNotInHostMemory) {
  const at::Tensor rows = at::empty({4, 2}, at::TensorOptions().device(at::kMeta));
  at::Tensor received = at::empty_like(rows);
  const std::vector<std::int64_t> one_each{1, 1, 1, 1};
  EXPECT_THROW(world->all_to_all(rows, one_each, received, one_each, "rows"), InternalError);
  EXPECT_THROW(world->all_reduce_sum(received, "sum"), InternalError);
  world->barrier("what was refused has broken nothing");
}

// More than one piece, and no multiple of the number of ranks: every element tells where it is
// from.
TEST(MpiRanks, AddUpLargeTensorsPieceByPiece) {
  const std::int64_t numel = (std::int64_t{1} << 23) + 3;
  const at::Tensor element = at::arange(numel, at::kFloat).remainder(1021);
  at::Tensor tensor = element.add(world->rank());
  world->all_reduce_sum(tensor, "large");
  EXPECT_TRUE(at::equal(tensor, element.mul(4).add(6)));

  const std::int64_t own_numel = (std::int64_t{1} << 21) + 1;
  const at::Tensor all = at::arange(4 * own_numel, at::kFloat).remainder(1021);
  at::Tensor own = at::empty({own_numel}, at::kFloat);
  world->reduce_scatter_sum(all.add(world->rank()), own, "large");
  EXPECT_TRUE(at::equal(own, all.narrow(0, world->rank() * own_numel, own_numel).mul(4).add(6)));
  at::Tensor gathered = at::empty_like(all);
  world->all_gather(own, gathered, "large");
  EXPECT_TRUE(at::equal(gathered, all.mul(4).add(6)));
}

}  // namespace
}  // namespace switchyard::comm

// With the argument `unchecked` as in a training run: ranks do not tell each other where they are.
int main(int argc, char** argv) {
  const bool checked = argc < 2 || std::string(argv[argc - 1]) != "unchecked";
  switchyard::comm::world =
      switchyard::comm::join_mpi({.timeout = std::chrono::seconds(60), .check_agreement = checked});
  const bool leads = switchyard::comm::world->rank() == 0;
  ::testing::InitGoogleMock(&argc, argv);
  if (!leads) {
    GTEST_FLAG_SET(output, "");
    GTEST_FLAG_SET(brief, true);
  }
  if (!checked) GTEST_FLAG_SET(filter, "-MpiRanks.AreAllTold*");
  const int status = RUN_ALL_TESTS();
  // A failure anywhere fails the whole.
  at::Tensor failures = at::full({}, status, at::kLong);
  switchyard::comm::world->all_reduce_sum(failures, "failures");
  switchyard::comm::world.reset();
  return failures.item<std::int64_t>() == 0 ? 0 : 1;
}
