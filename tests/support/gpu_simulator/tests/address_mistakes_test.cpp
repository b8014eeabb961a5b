// Mistakes that the build with address and undefined-behaviour sanitizers finds: these stop the
// program. Races show in the results.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "support/gpu_simulator/simulator.h"
#include "support/gpu_simulator/tests/kernels.h"
#include "support/gpu_simulator/tests/run.h"

namespace switchyard::gpu_simulator::testing {
namespace {

TEST(AddressMistakes, StopTheProgram) {
  for (const Kernel kernel :
       {&write_past_end, &read_past_end, &write_past_dynamic_shared, &matrix_past_end}) {
    EXPECT_DEATH(run_wrong(kernel), "AddressSanitizer");
  }
  EXPECT_DEATH(run_wrong(&write_past_shared_by_pointer), "AddressSanitizer|insufficient space");
  EXPECT_DEATH(run_wrong(&write_past_shared), "index 64 out of bounds");
  EXPECT_DEATH(run_wrong(&misaligned_vector), "misaligned address");
}

TEST(AddressMistakes, RacesChangeTheResultWithTheSeed) {
  // The order shows in what a racing kernel leaves behind.
  std::vector<int> first;
  bool orders_differ = false;
  const std::uint64_t before = seed();
  for (const std::uint64_t value : {1, 2, 3, 4}) {
    set_seed(value);
    const std::vector<int> out = run(&race_between_threads, random_values(kCount), 1);
    orders_differ = orders_differ || (!first.empty() && out != first);
    first = out;
  }
  set_seed(before);
  EXPECT_TRUE(orders_differ);
}

TEST(AddressMistakes, UninitialisedSharedMemoryHoldsPoisonInEveryBlock) {
  for (const Kernel kernel : {&read_uninitialised_shared, &read_uninitialised_dynamic_shared}) {
    const std::vector<int> out = run(kernel, random_values(kCount), kCount);
    for (std::size_t block = 0; block < kCount / 64; ++block) EXPECT_EQ(out[64 * block + 56], -1);
  }
}

TEST(AddressMistakes, AMissingBarrierShowsInTheResults) {
  const std::vector<int> in = random_values(kCount);
  std::vector<int> right(in);
  for (auto begin = right.begin(); begin != right.end(); begin += 64) {
    std::reverse(begin, begin + 64);
  }
  EXPECT_NE(run(&missing_barrier, in, kCount), right);
}

}  // namespace
}  // namespace switchyard::gpu_simulator::testing
