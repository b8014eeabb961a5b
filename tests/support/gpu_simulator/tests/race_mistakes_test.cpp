// Mistakes that the build with race checks finds: a KernelError names kernel, threads and memory.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "support/gpu_simulator/simulator.h"
#include "support/gpu_simulator/tests/kernels.h"
#include "support/gpu_simulator/tests/run.h"

namespace switchyard::gpu_simulator::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

struct Mistake {
  const char* name;
  Kernel kernel;
  const char* message;
};

class RaceMistake : public ::testing::TestWithParam<Mistake> {};

TEST_P(RaceMistake, IsFoundInEveryOrder) {
  const Mistake& mistake = GetParam();
  for (int repeat = 0; repeat < 5; ++repeat) {
    EXPECT_THAT(
        [&] { run_wrong(mistake.kernel); },
        ThrowsMessage<KernelError>(AllOf(HasSubstr(std::string(mistake.name) + "_kernel"),
                                         HasSubstr(mistake.message), HasSubstr("thread ("))));
  }
}

INSTANTIATE_TEST_SUITE_P(
    SimulatedGpu, RaceMistake,
    ::testing::Values(
        Mistake{"missing_barrier", &missing_barrier, "missing_barrier_tile"},
        Mistake{"missing_warp_barrier", &missing_warp_barrier, "race on shared memory"},
        Mistake{"shuffle_is_no_barrier", &shuffle_is_no_barrier, "shared memory"},
        Mistake{"race_between_threads", &race_between_threads, "race on device memory"},
        Mistake{"race_between_blocks", &race_between_blocks, "race on device memory"},
        Mistake{"race_of_atomic_and_write", &race_of_atomic_and_write, "race on device memory"},
        Mistake{"second_reader_races", &second_reader_races, "race on shared memory"},
        Mistake{"read_uninitialised_shared", &read_uninitialised_shared, "has not written"},
        Mistake{"read_uninitialised_dynamic_shared", &read_uninitialised_dynamic_shared,
                "has not written"},
        Mistake{"host_pointer", &host_pointer, "not memory of the device"},
        Mistake{"write_past_end", &write_past_end, "outside every allocation"},
        Mistake{"read_past_end", &read_past_end, "outside every allocation"},
        Mistake{"write_past_dynamic_shared", &write_past_dynamic_shared,
                "outside every allocation"},
        Mistake{"write_past_shared", &write_past_shared, "not memory of the device"},
        Mistake{"misaligned_vector", &misaligned_vector, "not aligned"},
        Mistake{"multiply", &read_sums_without_barrier, "shared memory"},
        Mistake{"load_past_end", &matrix_past_end, "outside every allocation"}),
    [](const auto& mistake) { return std::string(mistake.param.name); });

TEST(SimulatedGpu, FindsAResultThatNobodyWrote) {
  const std::vector<int> in = random_values(kCount);
  const switchyard::testing::DeviceBuffer<int> unwritten(kCount);
  const switchyard::testing::DeviceBuffer<int> out(kCount, -1);
  EXPECT_THAT(
      [&] {
        add_index({unwritten.data(), out.data(), kCount});
      },
      ThrowsMessage<KernelError>(
          AllOf(HasSubstr("add_index_kernel"), HasSubstr("which nobody has written"))));
}

}  // namespace
}  // namespace switchyard::gpu_simulator::testing
