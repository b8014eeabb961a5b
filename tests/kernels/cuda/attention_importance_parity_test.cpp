#include "switchyard/kernels/attention_importance.h"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/attention_reference.h"
#include "kernels/cuda/parity.h"

namespace switchyard::kernels::testing {
namespace {

template <typename T>
class AttentionImportanceOnGpu : public ::testing::Test {};
TYPED_TEST_SUITE(AttentionImportanceOnGpu, StorageTypes);

TYPED_TEST(AttentionImportanceOnGpu, GivesWhatTheCpuGives) {
  using T = TypeParam;
  using Sum = accumulation_t<T>;
  for (const AttentionCase& c : attention_cases()) {
    const AttentionReference reference(c);
    const AttentionInputs<T> inputs(c, reference);
    const std::vector<Sum> lse(reference.lse.begin(), reference.lse.end());
    const DeviceBuffer<T> q(inputs.q);
    const DeviceBuffer<T> k(inputs.k);
    const DeviceBuffer<Sum> device_lse(lse);
    const DeviceBuffer<bool> valid(std::vector<char>(c.valid.begin(), c.valid.end()));
    for (const auto statistic : {AttentionStatistic::received, AttentionStatistic::received_peak,
                                 AttentionStatistic::peak, AttentionStatistic::entropy}) {
      const bool has_queries_of_all_keys = c.num_queries() == c.num_key_rows;
      const bool is_received = statistic == AttentionStatistic::received ||
                               statistic == AttentionStatistic::received_peak;
      if (is_received && (c.causal || !has_queries_of_all_keys)) {
        continue;  // not defined there
      }
      std::vector<Sum> expected(static_cast<std::size_t>(c.num_queries()), not_a_number<Sum>());
      AttentionImportanceParams<T> params{.shape = inputs.shape,
                                          .lse_AT = lse.data(),
                                          .statistic = statistic,
                                          .importance_T = expected.data()};
      cpu::attention_importance(params);

      const DeviceBuffer<Sum> importance(c.num_queries(), not_a_number<Sum>());
      params.shape.q.data = q.data();  // query_offset and key_span stay on the host
      params.shape.k.data = k.data();
      if (!c.valid.empty()) params.shape.key_valid = valid.data();
      params.lse_AT = device_lse.data();
      params.importance_T = importance.data();
      cuda::attention_importance(params, test_stream());
      const std::vector<Sum> first = importance.host();
      expect_close(first, expected, c.name);
      cuda::attention_importance(params, test_stream());
      EXPECT_TRUE(same_bits(importance.host(), first)) << c.name;
    }
  }
}

// ---- bf16 without a mask: tensor cores

std::vector<AttentionCase> tensor_core_cases() {
  std::vector<AttentionCase> cases;
  const auto add = [&](std::string name, std::vector<std::int64_t> offset, std::int64_t head_dim) {
    AttentionCase c{.name = std::move(name), .query_offset = std::move(offset), .key_span = {}};
    for (std::size_t b = 0; b + 1 < c.query_offset.size(); ++b) {
      c.key_span.push_back({c.query_offset[b], c.query_offset[b + 1]});
    }
    c.num_key_rows = c.query_offset.back();
    c.head_dim = head_dim;
    cases.push_back(c);
  };
  add("one token", {0, 1}, 64);
  add("no token", {0, 0}, 64);
  add("unequal sequences, one empty, heads of 8", {0, 3, 3, 20, 37}, 8);
  add("more than a block's rows", {0, 150, 280}, 64);
  cases.back().num_heads = 1;
  add("rows that fill blocks and tiles", {0, 128, 192}, 64);
  cases.back().num_heads = 1;
  add("heads of 128 that share keys", {0, 70, 101}, 128);
  cases.back().num_heads = 4;
  cases.back().num_groups = 2;
  add("heads of 40", {0, 50}, 40);
  const AttentionCase cached{.name = "cached keys",
                             .query_offset = {0, 1, 4},
                             .key_span = {{5, 18}, {30, 33}},
                             .num_key_rows = 40,
                             .head_dim = 64};
  cases.push_back(cached);
  cases.push_back(cached);
  cases.back().name = "many cached keys";
  cases.back().query_offset = {0, 50};
  cases.back().key_span = {{2, 300}};
  cases.back().num_key_rows = 310;
  const std::size_t num_causal = cases.size();
  for (std::size_t i = 0; i < num_causal; ++i) {
    cases.push_back(cases[i]);
    cases.back().name += ", bidirectional";
    cases.back().causal = false;
  }
  return cases;
}

// bf16 inputs as training has them: q is a part of wider rows, lse what attention returned. What no
// sequence may read is NaN.
class TensorCoreInputs {
 public:
  explicit TensorCoreInputs(const AttentionCase& c)
      : is_received_defined_(!c.causal && c.num_queries() == c.num_key_rows),
        inputs_(c, AttentionReference(c)),
        wide_q_(static_cast<std::size_t>(c.num_queries() * stride_of(c)), not_a_number<BFloat16>()),
        lse_(static_cast<std::size_t>(c.num_heads * c.num_queries())) {
    const std::int64_t row = c.num_heads * c.head_dim;
    for (std::int64_t i = 0; i < c.num_queries() * row; ++i) {
      wide_q_[static_cast<std::size_t>(i / row * stride_of(c) + i % row)] =
          inputs_.q[static_cast<std::size_t>(i)];
    }
    inputs_.shape.q = {wide_q_.data(), stride_of(c), c.head_dim};
    inputs_.shape.scale = 1.0 / std::sqrt(static_cast<double>(c.head_dim));
    for (std::int64_t key = 0; key < c.num_key_rows; ++key) {
      bool is_seen = false;
      for (const KeySpan& span : c.key_span) is_seen |= key >= span.begin && key < span.end;
      for (std::int64_t i = 0; !is_seen && i < c.num_groups * c.head_dim; ++i) {
        inputs_.k[static_cast<std::size_t>(key * c.num_groups * c.head_dim + i)] =
            not_a_number<BFloat16>();
      }
    }
    std::vector<BFloat16> out(inputs_.q.size());
    cpu::attention(AttentionParams<BFloat16>{.shape = inputs_.shape,
                                             .v = inputs_.v_rows,
                                             .out = {out.data(), row, c.head_dim},
                                             .lse_AT = lse_.data()});
  }

  [[nodiscard]] std::vector<AttentionStatistic> statistics() const {
    std::vector<AttentionStatistic> defined{AttentionStatistic::peak, AttentionStatistic::entropy};
    if (is_received_defined_) {
      defined.insert(defined.end(),
                     {AttentionStatistic::received, AttentionStatistic::received_peak});
    }
    return defined;
  }

  // A number for each key, 0: hidden. None: no mask.
  using Mask = std::vector<char>;
  [[nodiscard]] std::vector<float> on_cpu(AttentionStatistic statistic,
                                          const Mask& mask = {}) const {
    std::vector<float> importance(static_cast<std::size_t>(inputs_.shape.num_queries),
                                  not_a_number<float>());
    AttentionImportanceParams<BFloat16> params{.shape = inputs_.shape,
                                               .lse_AT = lse_.data(),
                                               .statistic = statistic,
                                               .importance_T = importance.data()};
    if (!mask.empty()) params.shape.key_valid = reinterpret_cast<const bool*>(mask.data());
    cpu::attention_importance(params);
    return importance;
  }

  [[nodiscard]] std::vector<float> on_gpu(AttentionStatistic statistic,
                                          const Mask& mask = {}) const {
    const DeviceBuffer<BFloat16> q(wide_q_);
    const DeviceBuffer<BFloat16> k(inputs_.k);
    const DeviceBuffer<float> lse(lse_);
    const DeviceBuffer<bool> valid(mask);
    const DeviceBuffer<float> importance(inputs_.shape.num_queries, not_a_number<float>());
    AttentionImportanceParams<BFloat16> params{.shape = inputs_.shape,
                                               .lse_AT = lse.data(),
                                               .statistic = statistic,
                                               .importance_T = importance.data()};
    params.shape.q.data = q.data();
    params.shape.k.data = k.data();
    if (!mask.empty()) params.shape.key_valid = valid.data();
    cuda::attention_importance(params, test_stream());
    return importance.host();
  }

 private:
  static std::int64_t stride_of(const AttentionCase& c) { return c.num_heads * c.head_dim + 16; }

  bool is_received_defined_;
  AttentionInputs<BFloat16> inputs_;
  std::vector<BFloat16> wide_q_;
  std::vector<float> lse_;
};

// Products of bf16 are exact in fp32 and nothing else is rounded to bf16, so this is a tolerance of
// fp32: scores of about 10, added up in another order and on tensor cores with some bits less, are
// off by 1e-5 at most, and probabilities by that part of themselves.
constexpr double kTensorCoreTolerance = 3e-5;

void expect_close_to_itself(const std::vector<float>& actual, const std::vector<float>& expected,
                            const std::string& what) {
  ASSERT_EQ(actual.size(), expected.size()) << what;
  for (std::size_t i = 0; i < actual.size(); ++i) {
    ASSERT_NEAR(actual[i], expected[i], kTensorCoreTolerance * std::abs(expected[i]))
        << what << ", token " << i;
  }
}

TEST(AttentionImportanceOnTensorCores, GivesWhatTheCpuGives) {
  for (const AttentionCase& c : tensor_core_cases()) {
    const TensorCoreInputs inputs(c);
    for (const AttentionStatistic statistic : inputs.statistics()) {
      const std::string what = c.name + ", measure " + std::to_string(static_cast<int>(statistic));
      const std::vector<float> first = inputs.on_gpu(statistic);
      expect_close_to_itself(first, inputs.on_cpu(statistic), what);
      EXPECT_TRUE(same_bits(inputs.on_gpu(statistic), first)) << what;
    }
  }
}

// Another way to the same numbers rounds otherwise: equal bits would mean that both took one way.
TEST(AttentionImportanceOnTensorCores, AreTakenWhereThereIsNoMask) {
  for (const AttentionCase& c : tensor_core_cases()) {
    if (!c.name.starts_with("more than a block's rows")) continue;
    const TensorCoreInputs inputs(c);
    TensorCoreInputs::Mask mask(static_cast<std::size_t>(c.num_key_rows), 1);
    for (const AttentionStatistic statistic : inputs.statistics()) {
      const std::vector<float> without = inputs.on_gpu(statistic);
      const std::vector<float> with_mask = inputs.on_gpu(statistic, mask);
      expect_close_to_itself(without, with_mask, c.name + ", with a mask that hides nothing");
      EXPECT_FALSE(same_bits(without, with_mask));
    }
    mask[7] = 0;
    for (const AttentionStatistic statistic : inputs.statistics()) {
      expect_close_to_itself(inputs.on_gpu(statistic, mask), inputs.on_cpu(statistic, mask),
                             c.name + ", with a mask that hides a key");
    }
  }
}

}  // namespace
}  // namespace switchyard::kernels::testing
