#include "switchyard/ops/peak_flops.h"

#include <gtest/gtest.h>

namespace switchyard::ops {
namespace {

TEST(PeakFlops, AreMoreThanOneCoreCouldDoByScalars) {
  EXPECT_GT(measure_peak_flops(at::kFloat), 1e8);
}

}  // namespace
}  // namespace switchyard::ops
