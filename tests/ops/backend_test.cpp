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
  EXPECT_THROW(parallel_for(6, 1,
                            [](std::int64_t begin, std::int64_t /*end*/) {
                              if (begin == 4) throw std::runtime_error("block 4");
                            }),
               std::runtime_error);
}

}  // namespace
}  // namespace switchyard::ops
