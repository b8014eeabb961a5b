// Runs the kernels' tests on this machine's GPU; without one each of them is skipped.
#include <cuda_runtime.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace {

class SkipAll : public ::testing::EmptyTestEventListener {
 public:
  void OnTestStart(const ::testing::TestInfo& /*test*/) override { GTEST_SKIP() << "no GPU"; }
};

}  // namespace

int main(int argc, char** argv) {
  ::testing::InitGoogleMock(&argc, argv);
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) {
    ::testing::UnitTest::GetInstance()->listeners().Append(new SkipAll);
  }
  return RUN_ALL_TESTS();
}
