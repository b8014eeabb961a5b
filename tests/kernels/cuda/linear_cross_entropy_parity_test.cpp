#include "switchyard/kernels/linear_cross_entropy.h"

#include "kernels/cuda/parity.h"

namespace switchyard::kernels::testing {
namespace {

template <typename T>
class LinearCrossEntropyOnGpu : public ::testing::Test {};
TYPED_TEST_SUITE(LinearCrossEntropyOnGpu, StorageTypes);

// The rows of `size` elements with NaN behind each, and back.
template <typename T>
std::vector<T> with_row_stride(const std::vector<T>& rows, std::int64_t size, std::int64_t stride) {
  std::vector<T> padded(rows.size() / size * stride, store<T>(not_a_number<accumulation_t<T>>()));
  for (std::size_t i = 0; i < rows.size(); ++i) padded[i / size * stride + i % size] = rows[i];
  return padded;
}
template <typename T>
std::vector<T> rows_of(const std::vector<T>& padded, std::int64_t size, std::int64_t stride) {
  std::vector<T> rows(padded.size() / stride * size);
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = padded[i / size * stride + i % size];
  return rows;
}

template <typename T>
void expect_parity(const std::vector<T>& logits, const std::vector<std::int64_t>& label,
                   bool write_gradient, const std::string& what, std::int64_t row_stride = 0) {
  using Sum = accumulation_t<T>;
  const std::int64_t num_rows = std::ssize(label);
  const std::int64_t vocab_size = num_rows == 0 ? 8 : std::ssize(logits) / num_rows;
  std::vector<T> expected(logits);
  std::vector<Sum> expected_loss(label.size(), not_a_number<Sum>());
  LinearCrossEntropyParams<T> params{.logits_NV = expected.data(),
                                     .label_N = label.data(),
                                     .num_rows = num_rows,
                                     .vocab_size = vocab_size,
                                     .row_stride = vocab_size,
                                     .loss_N = expected_loss.data(),
                                     .write_gradient = write_gradient};
  cpu::linear_cross_entropy(params);

  if (row_stride == 0) row_stride = vocab_size;
  const DeviceBuffer<T> device_logits(with_row_stride(logits, vocab_size, row_stride));
  const DeviceBuffer<std::int64_t> device_label(label);
  const DeviceBuffer<Sum> loss(num_rows, not_a_number<Sum>());
  params.logits_NV = device_logits.data();
  params.row_stride = row_stride;
  params.label_N = device_label.data();
  params.loss_N = loss.data();
  cuda::linear_cross_entropy(params, test_stream());
  expect_close(loss.host(), expected_loss, what + " loss");
  const std::vector<T> in_place = rows_of(device_logits.host(), vocab_size, row_stride);
  expect_close(in_place, expected, what + " gradient", write_gradient ? 0.1 : 1.0);
  EXPECT_TRUE(write_gradient || same_bits(in_place, logits)) << what;
}

TYPED_TEST(LinearCrossEntropyOnGpu, GivesWhatTheCpuGives) {
  for (const std::int64_t vocab : {1, 7, 64, 1000, 4096, 5001}) {
    for (const std::int64_t num_rows : {0, 1, 6}) {
      const auto logits = random_values<TypeParam>(num_rows * vocab, 5, 4.0);
      std::vector<std::int64_t> label;
      for (std::int64_t row = 0; row < num_rows; ++row) {
        label.push_back(row == 2 ? -1 : row * 977 % vocab);
      }
      for (const bool write_gradient : {true, false}) {
        for (const std::int64_t stride : {vocab, (vocab + 7) / 8 * 8, vocab + 3}) {
          expect_parity(logits, label, write_gradient,
                        "V=" + std::to_string(vocab) + " in rows of " + std::to_string(stride),
                        stride);
        }
      }
    }
  }
}

TYPED_TEST(LinearCrossEntropyOnGpu, TreatsExtremeLogitsAsTheCpuDoes) {
  constexpr double kInf = std::numeric_limits<double>::infinity();
  const double nan = std::numeric_limits<double>::quiet_NaN();
  constexpr std::int64_t kVocab = 40;
  // Rows that begin with these; the rest is -Inf, then 0.
  const std::vector<std::vector<double>> beginnings{
      {3.0}, {-kInf}, {kInf, 1.0}, {nan, 2.0}, {1e30, -1e30}, {-kInf, nan}, {-1e30}};
  for (const double rest : {-kInf, 0.0}) {
    std::vector<TypeParam> logits;
    for (const auto& beginning : beginnings) {
      std::vector<double> row(kVocab, rest);
      std::copy(beginning.begin(), beginning.end(), row.begin());
      for (const double value : row) {
        logits.push_back(store<TypeParam>(static_cast<accumulation_t<TypeParam>>(value)));
      }
    }
    for (const std::int64_t label : {0, 1, 39}) {
      expect_parity(logits, std::vector<std::int64_t>(beginnings.size(), label), true,
                    "rest " + std::to_string(rest) + " label " + std::to_string(label));
    }
  }
}

}  // namespace
}  // namespace switchyard::kernels::testing
