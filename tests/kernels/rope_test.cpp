#include "switchyard/kernels/rope.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "kernels/attention_reference.h"

namespace switchyard::kernels {
namespace {

// Tables of one position: a quarter turn for pair 0, half a turn for pair 1.
const std::vector<double> kCos{1.0, 1.0, 0.0, -1.0};
const std::vector<double> kSin{0.0, 0.0, 1.0, 0.0};

RopeParams<double> params(const std::vector<double>& in, std::vector<double>& out,
                          const std::vector<std::int64_t>& position, std::int64_t num_heads) {
  return {.in = {in.data(), num_heads * 4, 4},
          .out = {out.data(), num_heads * 4, 4},
          .num_tokens = std::ssize(position),
          .num_heads = num_heads,
          .head_dim = 4,
          .position_T = position.data(),
          .cos = kCos.data(),
          .sin = kSin.data()};
}

TEST(RopeKernel, TurnsTheHalvesOfAHeadAgainstEachOther) {
  const std::vector<double> in{1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0};
  std::vector<double> out(8);
  const std::vector<std::int64_t> position{0, 1};
  cpu::rope(params(in, out, position, 1));
  EXPECT_EQ(out, (std::vector<double>{1.0, 2.0, 3.0, 4.0, -7.0, -6.0, 5.0, -8.0}));
}

TEST(RopeKernel, TheInverseUndoesTheRotation) {
  const std::vector<double> in{1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0};
  std::vector<double> turned(8);
  std::vector<double> back(8);
  const std::vector<std::int64_t> position{1};
  cpu::rope(params(in, turned, position, 2));
  RopeParams<double> inverse = params(turned, back, position, 2);
  inverse.inverse = true;
  cpu::rope(inverse);
  EXPECT_EQ(back, in);
}

TEST(RopeKernel, ReadsAndWritesStridedHeadsOnly) {
  // Two tokens of two heads inside rows of 20, as slices of a fused projection.
  const std::vector<double> in = random_rows(40, 1);
  Guarded<double> out(40, -1.0);
  const std::vector<std::int64_t> position{1, 1};
  cpu::rope(RopeParams<double>{.in = {in.data() + 2, 20, 6},
                               .out = {out.data() + 1, 20, 8},
                               .num_tokens = 2,
                               .num_heads = 2,
                               .head_dim = 4,
                               .position_T = position.data(),
                               .cos = kCos.data(),
                               .sin = kSin.data()});
  std::vector<double> expected(40, -1.0);
  for (std::size_t token = 0; token < 2; ++token) {
    for (std::size_t head = 0; head < 2; ++head) {
      const double* x = in.data() + 2 + token * 20 + head * 6;
      double* y = expected.data() + 1 + token * 20 + head * 8;
      y[0] = -x[2];
      y[2] = x[0];
      y[1] = -x[1];
      y[3] = -x[3];
    }
  }
  for (std::int64_t i = 0; i < 40; ++i) EXPECT_EQ(out[i], expected[static_cast<std::size_t>(i)]);
  EXPECT_TRUE(out.bands_are_intact());
}

TEST(RopeKernel, StoresBFloat16) {
  const std::vector<BFloat16> in = rounded<BFloat16>({1.0, 2.0, 3.0, 4.0});
  std::vector<BFloat16> out(4);
  const std::vector<std::int64_t> position{1};
  const std::vector<float> cos{1.0F, 1.0F, 0.0F, -1.0F};
  const std::vector<float> sin{0.0F, 0.0F, 1.0F, 0.0F};
  cpu::rope(RopeParams<BFloat16>{.in = {in.data(), 4, 4},
                                 .out = {out.data(), 4, 4},
                                 .num_tokens = 1,
                                 .num_heads = 1,
                                 .head_dim = 4,
                                 .position_T = position.data(),
                                 .cos = cos.data(),
                                 .sin = sin.data()});
  EXPECT_EQ(load(out[0]), -3.0F);
  EXPECT_EQ(load(out[1]), -2.0F);
  EXPECT_EQ(load(out[2]), 1.0F);
  EXPECT_EQ(load(out[3]), -4.0F);
}

}  // namespace
}  // namespace switchyard::kernels
