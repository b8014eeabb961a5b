#include "switchyard/ops/peak_flops.h"

#include <gtest/gtest.h>

namespace switchyard::ops {
namespace {

TEST(PeakFlops, AreMoreThanOneCoreCouldDoByScalars) {
  EXPECT_GT(measure_peak_flops(at::kFloat), 1e8);
}

TEST(PeakFlops, OfACpuAreMeasured) {
  const PeakFlops peak = peak_flops(at::kFloat, at::kCPU);
  EXPECT_EQ(peak.source, "measured product");
  EXPECT_EQ(peak.per_second, peak.measured);
}

TEST(PeakFlops, OfKnownGpusAreThoseOfTheirDataSheets) {
  const auto bf16 = [](const char* name) {
    return specified_peak_flops({.name = name}, at::kBFloat16);
  };
  EXPECT_EQ(bf16("NVIDIA H100 80GB HBM3"), 989.5e12);
  EXPECT_EQ(bf16("NVIDIA H100 PCIe"), 756.5e12);
  EXPECT_EQ(bf16("NVIDIA H200"), 989.5e12);
  EXPECT_EQ(bf16("NVIDIA H200 NVL"), 835.5e12);
  EXPECT_EQ(bf16("NVIDIA A100-SXM4-80GB"), 312e12);
  EXPECT_EQ(bf16("NVIDIA B200"), 2250e12);
  EXPECT_EQ(bf16("NVIDIA GeForce GTX 1080"), std::nullopt);
  EXPECT_EQ(specified_peak_flops({.name = "NVIDIA A100-SXM4-80GB"}, at::kFloat), 19.5e12);
  EXPECT_EQ(specified_peak_flops({.name = "NVIDIA A100-SXM4-80GB"}, at::kDouble), std::nullopt);
}

}  // namespace
}  // namespace switchyard::ops
