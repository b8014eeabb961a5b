// The simulator runs right kernels and finds the mistakes of wrong ones.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "cuda/launch.cuh"
#include "support/device_buffer.h"
#include "support/gpu_simulator/simulator.h"
#include "support/gpu_simulator/tests/kernels.h"
#include "support/gpu_simulator/tests/run.h"
#include "switchyard/core/error.h"

namespace switchyard::gpu_simulator::testing {
namespace {

using switchyard::testing::DeviceBuffer;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

// out[i] = expected(in, i) for every i.
template <typename Expected>
void expect_each(Kernel kernel, const std::vector<int>& in, const Expected& expected) {
  for (int repeat = 0; repeat < 3; ++repeat) {  // in other orders
    const std::vector<int> out = run(kernel, in, std::ssize(in));
    for (std::size_t i = 0; i < in.size(); ++i) {
      ASSERT_EQ(out[i], expected(i)) << "element " << i << ", seed " << seed();
    }
  }
}

TEST(SimulatedGpu, RunsEveryThreadOnceWithAnUnevenNumberOfElements) {
  for (const int count : {0, 1, 63, 64, 65, 200}) {
    const std::vector<int> in = random_values(count);
    expect_each(&add_index, in, [&](std::size_t i) { return in[i] + static_cast<int>(i); });
  }
}

TEST(SimulatedGpu, GivesThreadsTheirPlaceInThreeDimensions) {
  const DeviceBuffer<int> out(32 * 4 * 2 * 3 * 4, -1);
  wide_grid(out.data());
  std::vector<int> expected(32 * 4 * 2 * 3 * 4);
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(out.host(), expected);
}

TEST(SimulatedGpu, SharesMemoryWithinABlock) {
  const std::vector<int> in = random_values(kCount);
  for (const Kernel kernel : {&reverse_blocks, &reverse_blocks_dynamic}) {
    expect_each(kernel, in, [&](std::size_t i) { return in[i / 64 * 64 + 63 - i % 64]; });
  }
}

TEST(SimulatedGpu, AddsByShufflesAndAtomics) {
  const std::vector<int> in = random_values(kCount);
  const std::vector<int> sums = run(&sum_blocks, in, kCount / 64);
  for (std::size_t b = 0; b < sums.size(); ++b) {
    const auto begin = in.begin() + static_cast<std::ptrdiff_t>(64 * b);
    EXPECT_EQ(sums[b], std::accumulate(begin, begin + 64, 0));
  }
  const auto odd = std::count_if(in.begin(), in.end(), [](int value) { return value % 2 != 0; });
  EXPECT_EQ(run(&count_odd, in, 1)[0], odd - 1);  // starts at -1
}

TEST(SimulatedGpu, CopiesSixteenBytesAtOnce) {
  const std::vector<int> in = random_values(kCount);
  EXPECT_EQ(run(&copy_vectors, in, kCount), in);
}

TEST(SimulatedGpu, OrdersSharedMemoryByWarpBarriers) {
  const std::vector<int> in = random_values(kCount);
  expect_each(&swap_in_warp, in, [&](std::size_t i) { return in[i ^ 1] + 1; });
}

TEST(SimulatedGpu, VotesMatchesAndReduces) {
  std::vector<int> in = random_values(kCount, 4);
  std::fill(in.begin(), in.begin() + 32, 0);
  std::fill(in.begin() + 32, in.begin() + 64, 5);
  const auto warp = [&](std::size_t i) {
    const auto begin = in.begin() + static_cast<std::ptrdiff_t>(i / 32 * 32);
    return std::vector<int>(begin, begin + 32);
  };
  expect_each(&vote, in, [&](std::size_t i) {
    const auto lanes = warp(i);
    const auto set = std::count_if(lanes.begin(), lanes.end(), [](int v) { return v != 0; });
    return static_cast<int>((set > 0 ? 1 : 0) + (set == 32 ? 2 : 0) + 4 * set);
  });
  expect_each(&match, in, [&](std::size_t i) {
    unsigned mask = 0;
    for (unsigned j = 0; j < 32; ++j) mask |= (warp(i)[j] == in[i] ? 1U : 0U) << j;
    return static_cast<int>(mask);
  });
  in[70] = -3;
  expect_each(&reduce, in, [&](std::size_t i) {
    const auto lanes = warp(i);
    const auto [least, most] = std::minmax_element(lanes.begin(), lanes.end());
    return *most - *least;
  });
  expect_each(&count_positive_in_block, in, [&](std::size_t i) {
    const auto begin = in.begin() + static_cast<std::ptrdiff_t>(i / 64 * 64);
    return static_cast<int>(std::count_if(begin, begin + 64, [](int v) { return v > 0; }));
  });
}

TEST(SimulatedGpu, ShufflesInGroupsKeepTheirOwnValueAtTheEdge) {
  const std::vector<int> in = random_values(kCount, 50);
  expect_each(&shuffle_in_groups, in, [&](std::size_t i) {
    const std::size_t lane = i % 8;
    return in[lane + 3 < 8 ? i + 3 : i] + 100 * in[lane >= 1 ? i - 1 : i];
  });
}

TEST(SimulatedGpu, RoundsBfloat16ToEven) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  const std::vector<float> in{1.0F, 1.00390625F, 1.01171875F, -kInf, 3.4e38F, 1e-45F};
  const DeviceBuffer<float> device_in(in);
  const DeviceBuffer<float> out(std::ssize(in), 0.0F);
  round_trip_bfloat16(device_in.data(), out.data(), static_cast<int>(in.size()));
  EXPECT_EQ(out.host(), (std::vector<float>{1.0F, 1.0F, 1.015625F, -kInf, kInf, 0.0F}));
}

// ---- Mistakes that both builds find

TEST(SimulatedGpu, NamesKernelAndThreadsOfADivergentBarrier) {
  EXPECT_THAT([] { run_wrong(&divergent_barrier); },
              ThrowsMessage<KernelError>(
                  AllOf(HasSubstr("divergent_barrier_kernel"), HasSubstr("divergent barrier"),
                        HasSubstr("threads 0-31 at __syncthreads"),
                        HasSubstr("threads 32-63 finished"), HasSubstr("wrong_kernels.cu:"))));
  EXPECT_THAT([] { run_wrong(&finished_before_barrier); },
              ThrowsMessage<KernelError>(AllOf(HasSubstr("finished_before_barrier_kernel"),
                                               HasSubstr("threads 60-63 finished"))));
  EXPECT_THAT([] { run_wrong(&barriers_at_two_places); },
              ThrowsMessage<KernelError>(AllOf(HasSubstr("barriers_at_two_places_kernel"),
                                               HasSubstr("divergent barrier: thread"))));
}

TEST(SimulatedGpu, FindsWrongMasksOfWarpIntrinsics) {
  EXPECT_THAT([] { run_wrong(&shuffle_from_absent_lane); },
              ThrowsMessage<KernelError>(AllOf(HasSubstr("shuffle_from_absent_lane_kernel"),
                                               HasSubstr("shuffles from lane 20"))));
  EXPECT_THAT(
      [] { run_wrong(&half_a_warp_shuffles); },
      ThrowsMessage<KernelError>(AllOf(HasSubstr("half_a_warp_shuffles_kernel"),
                                       HasSubstr("in a warp shuffle of lanes 0xffffffff"))));
}

TEST(SimulatedGpu, GoesOnAfterAMistake) {
  EXPECT_THROW(run_wrong(&divergent_barrier), KernelError);
  const std::vector<int> in = random_values(kCount);
  expect_each(&swap_in_warp, in, [&](std::size_t i) { return in[i ^ 1] + 1; });
}

TEST(SimulatedGpu, RefusesALaunchThatAGpuWouldRefuse) {
  EXPECT_THAT([] { run_wrong(&too_many_threads); },
              ThrowsMessage<InternalError>(
                  AllOf(HasSubstr("divergent_barrier_kernel"), HasSubstr("1025x1x1 threads"))));
  EXPECT_THAT([] { run_wrong(&too_much_shared_memory); },
              ThrowsMessage<InternalError>(HasSubstr("233472 bytes of shared memory")));
  EXPECT_EQ(cudaGetLastError(), cudaSuccess) << "an error that was reported belongs to nobody else";
}

TEST(SimulatedGpu, MemoryThatIsNotThereIsNoInternalError) {
  last_error = cudaErrorMemoryAllocation;
  EXPECT_THAT([] { kernels::cuda::check_call(cudaErrorMemoryAllocation, "a call"); },
              ThrowsMessage<OutOfMemoryError>(HasSubstr("a call failed: out of memory")));
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
  EXPECT_THROW(kernels::cuda::check_call(cudaErrorInvalidConfiguration, "a call"), InternalError);
}

TEST(SimulatedGpu, AddsAKernelsOwnSharedMemoryToWhatItsLaunchAsksFor) {
  constexpr std::size_t kKiB = 1024;
  const DeviceBuffer<int> in(random_values(kCount));
  const DeviceBuffer<int> out(kCount, -1);
  const Arrays arrays{in.data(), out.data(), kCount};
  EXPECT_TRUE(starts_without_asking(arrays, 48 * kKiB - 8));
  EXPECT_FALSE(starts_without_asking(arrays, 48 * kKiB - 4));
  EXPECT_FALSE(starts_without_asking(arrays, 48 * kKiB));
  for (const std::size_t bytes : {48 * kKiB - 256, 48 * kKiB - 252, 48 * kKiB, 227 * kKiB - 256}) {
    EXPECT_NO_THROW(reverse_blocks_beside_own(arrays, bytes));
  }
  EXPECT_THROW(reverse_blocks_beside_own(arrays, 227 * kKiB), InternalError);  // of an H100
}

TEST(SimulatedGpu, CopiesOnlyWithinOneAllocation) {
  const DeviceBuffer<int> buffer(4, 1);
  std::vector<int> host(5);
  EXPECT_THROW((void)cudaMemcpy(host.data(), buffer.data(), 20, cudaMemcpyDeviceToHost),
               KernelError);
  EXPECT_THROW((void)cudaMemcpy(host.data(), host.data() + 2, 4, cudaMemcpyHostToDevice),
               KernelError);
}

}  // namespace
}  // namespace switchyard::gpu_simulator::testing
