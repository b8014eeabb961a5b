#include "switchyard/core/philox.h"

#include <gtest/gtest.h>

namespace switchyard {
namespace {

// Known answers of Random123 (tests/kat_vectors, philox4x32 with 10 rounds).
TEST(Philox, MatchesTheKnownAnswersOfRandom123) {
  EXPECT_EQ(philox({0, 0}, {0, 0, 0, 0}),
            (PhiloxCounter{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox({0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}),
            (PhiloxCounter{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0xa4093822, 0x299f31d0}, {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}),
            (PhiloxCounter{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Philox, IsUsableAtCompileTime) {
  static_assert(philox({0, 0}, {0, 0, 0, 0})[0] == 0x6627e8d5U);
}

TEST(Philox, KeySplitsTheSeedIntoItsHalves) {
  const PhiloxKey key = philox_key(0x123456789abcdef0U);
  EXPECT_EQ(key.low, 0x9abcdef0U);
  EXPECT_EQ(key.high, 0x12345678U);
}

TEST(Philox, UniformFloatStaysBelowOne) {
  EXPECT_EQ(uniform_float(0), 0.0F);
  EXPECT_LT(uniform_float(0xffffffffU), 1.0F);
  EXPECT_EQ(uniform_float(0x80000000U), 0.5F);
}

TEST(Philox, UniformFloatsHaveTheMeanAndVarianceOfAUniform) {
  constexpr int kWords = 40000;
  double sum = 0;
  double squares = 0;
  for (std::uint32_t i = 0; i < kWords / 4; ++i) {
    for (const std::uint32_t word : philox(philox_key(7), {i, 0, 0, 0})) {
      sum += uniform_float(word);
      squares += uniform_float(word) * uniform_float(word);
    }
  }
  const double mean = sum / kWords;
  EXPECT_NEAR(mean, 0.5, 0.006);  // 4 standard errors
  EXPECT_NEAR(squares / kWords - mean * mean, 1.0 / 12.0, 0.0015);
}

}  // namespace
}  // namespace switchyard
