// Runs the tests and prints the seed that orders everything the simulated GPU does.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>

#include "support/gpu_simulator/simulator.h"

int main(int argc, char** argv) {
  ::testing::InitGoogleMock(&argc, argv);
  const auto seed = static_cast<unsigned long long>(switchyard::gpu_simulator::seed());
  std::printf("order of blocks and threads: SWITCHYARD_GPU_SIMULATOR_SEED=%llu\n", seed);
  return RUN_ALL_TESTS();
}
