#include "switchyard/kernels/embedding.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "kernels/attention_reference.h"

namespace switchyard::kernels {
namespace {

TEST(EmbeddingKernel, AddsTheRowsOfATokenToWhatIsThere) {
  const std::vector<double> dy{1.0, 2.0, 10.0, 20.0, 100.0, 200.0};
  const std::vector<std::int64_t> token{2, 0, 2};
  std::vector<double> dweight{5.0, 5.0, 6.0, 6.0, 7.0, 7.0};
  cpu::embedding_backward(EmbeddingBackwardParams<double>{.dy_TH = dy.data(),
                                                          .token_T = token.data(),
                                                          .num_tokens = 3,
                                                          .row_size = 2,
                                                          .vocab_size = 3,
                                                          .dweight_VH = dweight.data()});
  EXPECT_EQ(dweight, (std::vector<double>{15.0, 25.0, 6.0, 6.0, 108.0, 209.0}));
}

TEST(EmbeddingKernel, SumsBFloat16RowsInFloat) {
  constexpr std::int64_t kTokens = 1000;
  constexpr std::int64_t kSize = 150;  // more than two blocks of columns
  const std::vector<BFloat16> dy(kTokens * kSize, to_bfloat16(1.0F));
  const std::vector<std::int64_t> token(kTokens, 1);
  Guarded<float> dweight(2 * kSize, 0.0);
  cpu::embedding_backward(EmbeddingBackwardParams<BFloat16>{.dy_TH = dy.data(),
                                                            .token_T = token.data(),
                                                            .num_tokens = kTokens,
                                                            .row_size = kSize,
                                                            .vocab_size = 2,
                                                            .dweight_VH = dweight.data()});
  for (std::int64_t i = 0; i < kSize; ++i) {
    EXPECT_EQ(dweight[i], 0.0);
    EXPECT_EQ(dweight[kSize + i], 1000.0);  // a sum in bf16 would stop at 256
  }
  EXPECT_TRUE(dweight.bands_are_intact());
}

}  // namespace
}  // namespace switchyard::kernels
