#include "switchyard/train/machine.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <vector>

namespace switchyard::train {
namespace {

TEST(Machine, CountsTheCoresThatTheProcessMayUse) {
  cpu_set_t before;
  ASSERT_EQ(::sched_getaffinity(0, sizeof(before), &before), 0);
  EXPECT_GE(num_available_cores(), 1);
  EXPECT_LE(num_available_cores(), CPU_COUNT(&before));
  cpu_set_t one;
  CPU_ZERO(&one);
  for (std::size_t cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; ++cpu) {
    if (CPU_ISSET(cpu, &before)) CPU_SET(cpu, &one);
  }
  ASSERT_EQ(::sched_setaffinity(0, sizeof(one), &one), 0);
  EXPECT_EQ(num_available_cores(), 1);
  ASSERT_EQ(::sched_setaffinity(0, sizeof(before), &before), 0);
}

TEST(Machine, ResidentMemoryGrowsWithWhatIsTouched) {
  const std::uint64_t before = resident_bytes();
  EXPECT_GT(before, 0U);
  const std::vector<char> touched(64U << 20U, 1);
  EXPECT_GT(resident_bytes(), before + (48U << 20U));
  EXPECT_EQ(touched.back(), 1);
}

TEST(Machine, PeakIsMoreThanOneCoreCouldDoByScalars) {
  EXPECT_GT(measure_peak_flops(at::kFloat), 1e8);
}

}  // namespace
}  // namespace switchyard::train
