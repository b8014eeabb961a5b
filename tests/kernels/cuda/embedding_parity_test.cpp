#include "switchyard/kernels/embedding.h"

#include "kernels/cuda/parity.h"

namespace switchyard::kernels::testing {
namespace {

template <typename T>
class EmbeddingOnGpu : public ::testing::Test {};
TYPED_TEST_SUITE(EmbeddingOnGpu, StorageTypes);

struct Shape {
  std::int64_t num_tokens;
  std::int64_t vocab_size;
  std::int64_t row_size;
};
// Tables of one to three digits of the sort, tokens of one and of several tiles, rows with and
// without whole packs and of more than one block of columns.
const std::vector<Shape> kShapes{{0, 10, 8},   {1, 1, 1},      {33, 300, 264},  {70, 2, 20},
                                 {200, 1, 40}, {2500, 257, 8}, {4500, 70000, 1}};

// Added in the same order to what is there already.
TYPED_TEST(EmbeddingOnGpu, GradientHasTheBitsOfTheCpus) {
  using T = TypeParam;
  using Sum = accumulation_t<T>;
  for (const auto& [num_tokens, vocab_size, row_size] : kShapes) {
    std::mt19937 random(4);
    std::vector<std::int64_t> token;
    for (std::int64_t t = 0; t < num_tokens; ++t) {  // one row gets a third of them
      token.push_back(random() % 3 == 0 ? vocab_size - 1
                                        : static_cast<std::int64_t>(random()) % vocab_size);
    }
    const auto dy = random_values<T>(num_tokens * row_size, 5);
    const auto before = random_values<Sum>(vocab_size * row_size, 6);
    std::vector<Sum> expected(before);
    EmbeddingBackwardParams<T> params{.dy_TH = dy.data(),
                                      .token_T = token.data(),
                                      .num_tokens = num_tokens,
                                      .row_size = row_size,
                                      .vocab_size = vocab_size,
                                      .dweight_VH = expected.data()};
    cpu::embedding_backward(params);

    const DeviceBuffer<T> device_dy(dy);
    const DeviceBuffer<std::int64_t> device_token(token);
    const DeviceBuffer<Sum> dweight(before);
    params.dy_TH = device_dy.data();
    params.token_T = device_token.data();
    params.dweight_VH = dweight.data();
    cuda::embedding_backward(params, test_stream());
    EXPECT_TRUE(same_bits(dweight.host(), expected))
        << "T=" << num_tokens << " V=" << vocab_size << " H=" << row_size;
  }
}

}  // namespace
}  // namespace switchyard::kernels::testing
