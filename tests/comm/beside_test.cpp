// Collectives that go on while a rank computes.
#include "switchyard/comm/beside.h"

#include <ATen/ops/full.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <memory>
#include <string>

#include "switchyard/comm/threads.h"
#include "switchyard/comm/watched.h"
#include "switchyard/core/error.h"

namespace switchyard::comm {
namespace {

using std::chrono::seconds;
using ::testing::HasSubstr;

at::Tensor one() {
  return at::full({1}, 1.0);
}

// Rank 1 comes only when rank 0 has gone on.
TEST(Beside, TheCallerGoesOn) {
  std::promise<void> went_on;
  std::future<void> other = went_on.get_future();
  run_ranks(2, [&](Communicator& ranks) {
    const std::unique_ptr<Communicator> comm = beside(ranks);
    at::Tensor sum = one();
    if (comm->rank() == 1) {
      ASSERT_EQ(other.wait_for(seconds(60)), std::future_status::ready) << "begin() waits";
    }
    const auto work = comm->begin([&] { comm->all_reduce_sum(sum, "sum"); });
    if (comm->rank() == 0) went_on.set_value();
    work->wait();
    EXPECT_EQ(sum.item<double>(), 2.0);
  });
}

TEST(Beside, WhatNobodyWaitsForIsDoneWhenItGoesAway) {
  run_ranks(2, [&](Communicator& ranks) {
    const std::unique_ptr<Communicator> comm = beside(ranks);
    at::Tensor sum = one();
    (void)comm->begin([&] { comm->all_reduce_sum(sum, "sum"); });
    EXPECT_EQ(sum.item<double>(), 2.0);
  });
}

TEST(Beside, AnErrorIsThrownByWhoWaitsAndByAllThatComesLater) {
  run_ranks(1, [&](Communicator& ranks) {
    const std::unique_ptr<Communicator> comm = beside(ranks);
    const auto fails = comm->begin([] { throw StorageError("a disk", "another"); });
    const auto after = comm->begin([] { FAIL() << "entered after an error"; });
    EXPECT_THROW(fails->wait(), StorageError);
    EXPECT_THROW(fails->wait(), InternalError) << "waited twice";
    EXPECT_THROW(after->wait(), StorageError);
    EXPECT_THROW(comm->barrier("later"), StorageError);
  });
}

// One rank fails while the others wait for it, in what they began or entered.
TEST(Beside, ARankThatFailsEndsAll) {
  const auto run = [](bool begins) {
    run_ranks(3, [&](Communicator& ranks) {
      const std::unique_ptr<Communicator> comm = beside(ranks);
      at::Tensor sum = one();
      if (comm->rank() == 2) throw StorageError("rank 2's disk", "another");
      if (begins) {
        comm->begin([&] { comm->all_reduce_sum(sum, "sum"); })->wait();
      } else {
        comm->all_reduce_sum(sum, "sum");
      }
    });
  };
  EXPECT_THROW(run(true), StorageError);
  EXPECT_THROW(run(false), StorageError);
}

TEST(Beside, RecordsOfWatchedRanksAreFoundBeneath) {
  run_ranks(1, [&](Communicator& ranks) {
    const std::unique_ptr<Communicator> noted = watched(ranks.split(0, "noted"), {});
    const std::unique_ptr<Communicator> comm = beside(*noted);
    (void)take_traffic(*comm);
    at::Tensor sum = one();
    comm->begin([&] { comm->all_reduce_sum(sum, "sum"); })->wait();
    EXPECT_EQ(take_traffic(*comm).calls, 1);
  });
}

}  // namespace
}  // namespace switchyard::comm
