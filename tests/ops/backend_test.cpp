#include "switchyard/ops/backend.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include "switchyard/core/parallel.h"

namespace switchyard::ops {
namespace {

class ParallelBackendOfTorch : public ::testing::Test {
 protected:
  void SetUp() override {
    at::set_num_threads(2);
    install_parallel_backend();
  }
  void TearDown() override { set_parallel_backend(nullptr); }
};

// Each of two blocks waits until the other has begun, which one thread alone cannot do.
TEST_F(ParallelBackendOfTorch, RunsBlocksOnSeveralThreadsAtOnce) {
  std::mutex mutex;
  std::condition_variable begun;
  std::set<std::thread::id> threads;
  parallel_for(2, 1, [&](std::int64_t /*begin*/, std::int64_t /*end*/) {
    std::unique_lock lock(mutex);
    threads.insert(std::this_thread::get_id());
    begun.notify_all();
    EXPECT_TRUE(begun.wait_for(lock, std::chrono::seconds(20), [&] { return threads.size() == 2; }))
        << "the other block has not begun: both are run by one thread";
  });
  EXPECT_EQ(threads.size(), 2U);
}

TEST_F(ParallelBackendOfTorch, RunsEveryBlockOnceAlsoFromInsideABlock) {
  std::mutex mutex;
  std::vector<int> visits(40, 0);
  parallel_for(8, 1, [&](std::int64_t outer, std::int64_t /*end*/) {
    parallel_for(5, 1, [&](std::int64_t inner, std::int64_t /*end*/) {
      const std::lock_guard lock(mutex);
      ++visits[static_cast<std::size_t>(outer * 5 + inner)];
    });
  });
  EXPECT_EQ(visits, std::vector<int>(40, 1));
}

TEST_F(ParallelBackendOfTorch, PassesExceptionsToTheCaller) {
  for (const Blocks blocks : {Blocks::on_all_threads, Blocks::on_the_calling_thread}) {
    install_parallel_backend(blocks);
    EXPECT_THROW(parallel_for(6, 1,
                              [](std::int64_t begin, std::int64_t /*end*/) {
                                if (begin == 4) throw std::runtime_error("block 4");
                              }),
                 std::runtime_error);
    EXPECT_EQ(at::get_num_threads(), 2);
  }
}

// As in a team, LibTorch has one thread inside a block.
TEST_F(ParallelBackendOfTorch, LeavesBlocksToTheThreadThatCalls) {
  install_parallel_backend(Blocks::on_the_calling_thread);
  const std::thread::id caller = std::this_thread::get_id();
  std::vector<std::int64_t> visited;
  parallel_for(3, 1, [&](std::int64_t outer, std::int64_t /*end*/) {
    parallel_for(2, 1, [&](std::int64_t inner, std::int64_t /*end*/) {
      EXPECT_EQ(std::this_thread::get_id(), caller);
      EXPECT_EQ(at::get_num_threads(), 1);
      visited.push_back(2 * outer + inner);
    });
  });
  EXPECT_EQ(visited, (std::vector<std::int64_t>{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(at::get_num_threads(), 2);
}

}  // namespace
}  // namespace switchyard::ops
