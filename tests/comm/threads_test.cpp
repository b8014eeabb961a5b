// What goes wrong between ranks ends in an error, not in a hang.
#include "switchyard/comm/threads.h"

#include <ATen/ops/ones.h>
#include <c10/util/Exception.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <functional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "comm/disagreements.h"
#include "switchyard/core/error.h"

namespace switchyard::comm {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

template <typename Type>
std::string message_of(std::int64_t num_ranks, const std::function<void(Communicator&)>& fn) {
  try {
    run_ranks(num_ranks, fn);
  } catch (const Type& error) {
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return {};
}

// Runs ranks that disagree in one collective and returns what every rank was told.
std::string disagreement(const std::function<void(Communicator&)>& collective) {
  std::atomic<int> num_told{0};
  const std::string message = message_of<InternalError>(3, [&](Communicator& comm) {
    try {
      collective(comm);
    } catch (const InternalError&) {
      ++num_told;
      throw;
    }
  });
  EXPECT_EQ(num_told, 3);
  EXPECT_THAT(message, StartsWith("rank 0: ")) << "all failed together, so the lowest is named";
  return message;
}

at::Tensor ones(std::int64_t size, at::ScalarType dtype = at::kFloat) {
  return at::ones({size}, dtype);
}

// A barrier that lets a rank through early shows in the count of those that entered.
TEST(ThreadRanks, LeaveABarrierOnlyWhenAllHaveEntered) {
  constexpr std::int64_t kRanks = 4;
  std::atomic<std::int64_t> num_entered{0};
  run_ranks(kRanks, [&](Communicator& comm) {
    for (std::int64_t round = 1; round <= 100; ++round) {
      ++num_entered;
      comm.barrier("all here");
      EXPECT_EQ(num_entered, round * kRanks);
      comm.barrier("all have looked");
    }
  });
}

TEST(ThreadRanks, AreAllToldWhenSizesDiffer) {
  const std::string message = disagreement([](Communicator& comm) {
    at::Tensor tensor = ones(comm.rank() == 1 ? 3 : 2);
    comm.all_reduce_sum(tensor, "grad");
  });
  EXPECT_THAT(message, AllOf(HasSubstr("rank 1 in all_reduce_sum 'grad' of Float [3]"),
                             HasSubstr("rank 0 is in all_reduce_sum 'grad' of Float [2]")));
}

TEST(ThreadRanks, AreAllToldWhenDtypesDiffer) {
  const std::string message = disagreement([](Communicator& comm) {
    at::Tensor tensor = ones(2, comm.rank() == 2 ? at::kDouble : at::kFloat);
    comm.all_reduce_sum(tensor, "grad");
  });
  EXPECT_THAT(message, AllOf(HasSubstr("Float [2]"), HasSubstr("rank 2"), HasSubstr("Double [2]")));
}

TEST(ThreadRanks, AreAllToldWhenNamesDiffer) {
  EXPECT_THAT(disagreement([](Communicator& comm) {
                at::Tensor tensor = ones(2);
                comm.all_reduce_sum(tensor, comm.rank() == 0 ? "losses" : "counts");
              }),
              AllOf(HasSubstr("'losses'"), HasSubstr("'counts'")));
  EXPECT_THAT(disagreement([](Communicator& comm) { comm.barrier(comm.rank() == 0 ? "a" : "b"); }),
              AllOf(HasSubstr("barrier 'a'"), HasSubstr("barrier 'b'")));
  EXPECT_THAT(
      disagreement([](Communicator& comm) { (void)comm.split(0, comm.rank() == 0 ? "a" : "b"); }),
      AllOf(HasSubstr("split 'a'"), HasSubstr("split 'b'")));
}

TEST(ThreadRanks, AreAllToldWhenRowsDiffer) {
  const std::string message = disagreement([](Communicator& comm) {
    const std::vector<std::int64_t> one_each{1, 1, 1};
    const std::vector<std::int64_t> other{1, 0, 2};
    at::Tensor rows = at::ones({3, 2});
    comm.all_to_all(at::ones({3, 2}), comm.rank() == 1 ? other : one_each, rows, one_each, "rows");
  });
  EXPECT_THAT(message, AllOf(HasSubstr("'rows'"),
                             HasSubstr("rank 1 sends 0 rows to rank 1, which expects 1")));
}

TEST(ThreadRanks, AreAllToldWhenPartsDiffer) {
  EXPECT_THAT(
      disagreement(&disagree_about_the_second_part),
      AllOf(HasSubstr("'rows'"), HasSubstr("rank 1 sends 0 rows to rank 0, which expects 1")));
  EXPECT_THAT(disagreement(&disagree_about_the_number_of_parts), HasSubstr(kOtherNumberOfParts));
}

TEST(ThreadRanks, AreAllToldWhenRootsOrCollectivesDiffer) {
  EXPECT_THAT(disagreement([](Communicator& comm) {
                at::Tensor tensor = ones(2);
                comm.broadcast(tensor, comm.rank() == 0 ? 1 : 0, "weights");
              }),
              AllOf(HasSubstr("broadcast from 1 'weights'"), HasSubstr("broadcast from 0")));
  EXPECT_THAT(disagreement([](Communicator& comm) {
                at::Tensor tensor = ones(2);
                if (comm.rank() == 0) {
                  comm.barrier("x");
                } else {
                  comm.all_reduce_sum(tensor, "x");
                }
              }),
              AllOf(HasSubstr("barrier 'x'"), HasSubstr("all_reduce_sum 'x'")));
}

TEST(ThreadRanks, EveryLaterCollectiveFailsAfterADisagreement) {
  run_ranks(2, [](Communicator& comm) {
    const auto pair = comm.split(0, "pair");
    EXPECT_THROW(comm.barrier(comm.rank() == 0 ? "a" : "b"), InternalError);
    EXPECT_THROW(comm.barrier("the same"), InternalError);
    EXPECT_THROW(pair->barrier("of another group"), InternalError);
  });
}

TEST(ThreadRanks, AnExceptionInOneRankEndsTheOthersWait) {
  std::atomic<int> num_stopped{0};
  const std::string message = message_of<DataError>(4, [&](Communicator& comm) {
    if (comm.rank() == 2) throw DataError("a damaged file");
    try {
      comm.barrier("never complete");
    } catch (const InternalError& error) {
      EXPECT_THAT(error.what(), HasSubstr("rank 2 failed: a damaged file"));
      ++num_stopped;
      throw;
    }
  });
  EXPECT_EQ(message, "rank 2: a damaged file");
  EXPECT_EQ(num_stopped, 3);
}

TEST(ThreadRanks, AnExceptionInOneRankEndsTheWaitInAnotherGroup) {
  EXPECT_EQ(message_of<UsageError>(4,
                                   [&](Communicator& comm) {
                                     const auto pair = comm.split(comm.rank() / 2, "pairs");
                                     if (comm.rank() == 0) throw UsageError("no");
                                     for (;;) pair->barrier("of a pair");
                                   }),
            "rank 0: no");
}

TEST(ThreadRanks, TheErrorKeepsItsTypeAndHint) {
  const auto throws = [](const auto& error) {
    run_ranks(2, [&](Communicator& comm) {
      if (comm.rank() == 1) throw error;
      comm.barrier("wait");
    });
  };
  EXPECT_THROW(throws(UsageError("x")), UsageError);
  EXPECT_THROW(throws(DataError("x")), DataError);
  EXPECT_THROW(throws(StorageError("x")), StorageError);
  EXPECT_THROW(throws(NonFiniteError("x")), NonFiniteError);
  EXPECT_THROW(throws(PreemptedError("x")), PreemptedError);
  EXPECT_THROW(throws(PeerError("x")), PeerError);
  EXPECT_THROW(throws(OutOfMemoryError("x")), OutOfMemoryError);
  EXPECT_THROW(throws(std::bad_alloc()), OutOfMemoryError);
  // A thread that the system refuses, as under `ulimit -v`.
  EXPECT_THROW(
      throws(std::system_error(std::make_error_code(std::errc::resource_unavailable_try_again))),
      OutOfMemoryError);
  EXPECT_THROW(throws(std::filesystem::filesystem_error(
                   "status", std::make_error_code(std::errc::filename_too_long))),
               StorageError);
  EXPECT_THROW(throws(c10::OutOfMemoryError({"f", "x.cpp", 1}, "x")), c10::OutOfMemoryError);
  EXPECT_THROW(throws(InternalError("x")), InternalError);
  EXPECT_THROW(throws(std::runtime_error("x")), InternalError);
  try {
    throws(UsageError("what", "a hint"));
  } catch (const UsageError& error) {
    EXPECT_STREQ(error.what(), "rank 1: what");
    EXPECT_EQ(error.hint(), "a hint");
  }
}

TEST(ThreadRanks, ARankThatReturnsEarlyIsNamed) {
  EXPECT_THAT(
      message_of<InternalError>(3,
                                [](Communicator& comm) {
                                  if (comm.rank() == 1) return;
                                  comm.barrier("evaluation");
                                }),
      AllOf(HasSubstr("rank 1 has ended"), HasSubstr("rank 0 waits in barrier 'evaluation'"),
            HasSubstr("rank 2 waits in barrier 'evaluation'")));
}

// The pause decides whether the wait or the return is noticed last, not the result.
TEST(ThreadRanks, ARankThatReturnsWhileOthersWaitIsNamed) {
  EXPECT_THAT(
      message_of<InternalError>(2,
                                [](Communicator& comm) {
                                  if (comm.rank() == 0) comm.barrier("evaluation");
                                  std::this_thread::sleep_for(std::chrono::milliseconds(50));
                                }),
      AllOf(HasSubstr("rank 0 waits in barrier 'evaluation'"), HasSubstr("rank 1 has ended")));
}

TEST(ThreadRanks, WaitingForEachOtherInDifferentGroupsIsAnError) {
  EXPECT_THAT(message_of<InternalError>(2,
                                        [](Communicator& comm) {
                                          const auto pair = comm.split(0, "pair");
                                          (comm.rank() == 0 ? comm : *pair).barrier("meet");
                                        }),
              AllOf(HasSubstr("rank 0 waits in barrier 'meet' of all ranks"),
                    HasSubstr("rank 1 waits in barrier 'meet' of split 'pair' 0")));
}

TEST(ThreadRanks, NoRanksIsABug) {
  EXPECT_THROW(run_ranks(0, [](Communicator&) {}), InternalError);
}

}  // namespace
}  // namespace switchyard::comm
