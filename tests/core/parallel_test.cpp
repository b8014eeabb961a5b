#include "switchyard/core/parallel.h"

#include <gtest/gtest.h>

#include <atomic>
#include <limits>
#include <stdexcept>
#include <thread>
#include <vector>

#include "switchyard/core/error.h"

namespace switchyard {
namespace {

void run_on_two_threads(std::int64_t num_blocks, const std::function<void(std::int64_t)>& body) {
  std::thread odd([&] {
    for (std::int64_t i = 1; i < num_blocks; i += 2) body(i);
  });
  for (std::int64_t i = 0; i < num_blocks; i += 2) body(i);
  odd.join();
}

class ParallelFor : public testing::TestWithParam<ParallelBackend> {
 protected:
  void SetUp() override { set_parallel_backend(GetParam()); }
  void TearDown() override { set_parallel_backend(nullptr); }
};

TEST_P(ParallelFor, VisitsEveryItemOnceInBlocksOfTheGrain) {
  std::vector<std::atomic<int>> visits(23);
  std::atomic<int> blocks{0};
  parallel_for(23, 5, [&](std::int64_t begin, std::int64_t end) {
    EXPECT_EQ(begin % 5, 0);
    EXPECT_EQ(end, std::min<std::int64_t>(23, begin + 5));
    ++blocks;
    for (std::int64_t i = begin; i < end; ++i) ++visits[static_cast<std::size_t>(i)];
  });
  EXPECT_EQ(blocks, 5);
  for (const auto& count : visits) EXPECT_EQ(count, 1);
}

TEST_P(ParallelFor, BlocksDoNotDependOnTheBackend) {
  constexpr std::int64_t kItems = 1000;
  std::vector<float> partial(10, 0.0F);
  parallel_for(kItems, 100, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      partial[static_cast<std::size_t>(begin / 100)] += 1.0F / static_cast<float>(i + 1);
    }
  });
  float parallel_sum = 0;
  for (const float part : partial) parallel_sum += part;

  float expected = 0;
  for (int block = 0; block < 10; ++block) {
    float part = 0;
    for (int i = block * 100; i < (block + 1) * 100; ++i) part += 1.0F / static_cast<float>(i + 1);
    expected += part;
  }
  EXPECT_EQ(parallel_sum, expected);  // bit for bit
}

TEST_P(ParallelFor, EmptyRangeCallsNothing) {
  parallel_for(0, 4, [](std::int64_t, std::int64_t) { FAIL() << "called for no items"; });
}

INSTANTIATE_TEST_SUITE_P(Backends, ParallelFor, testing::Values(nullptr, &run_on_two_threads));

TEST(ParallelForSerial, ExceptionReachesTheCaller) {
  const auto fail = [](std::int64_t begin, std::int64_t) {
    if (begin == 4) throw std::runtime_error("block 2");
  };
  EXPECT_THROW(parallel_for(10, 2, fail), std::runtime_error);
}

TEST(ParallelForSerial, HugeGrainIsOneBlock) {
  int calls = 0;
  parallel_for(3, std::numeric_limits<std::int64_t>::max(), [&](std::int64_t begin, auto end) {
    EXPECT_EQ(begin, 0);
    EXPECT_EQ(end, 3);
    ++calls;
  });
  EXPECT_EQ(calls, 1);
}

TEST(ParallelForSerial, GrainMustBePositive) {
  EXPECT_THROW(parallel_for(3, 0, [](std::int64_t, std::int64_t) {}), InternalError);
}

}  // namespace
}  // namespace switchyard
