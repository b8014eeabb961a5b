#include "switchyard/kernels/attention_importance.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "kernels/attention_reference.h"

namespace switchyard::kernels {
namespace {

template <typename T>
double tolerance() {
  if constexpr (std::is_same_v<T, double>) return 1e-12;
  if constexpr (std::is_same_v<T, float>) return 1e-5;
  return 0.05;
}

template <typename T>
using LogSumExp = std::vector<accumulation_t<T>>;  // [A, T]

template <typename T>
LogSumExp<T> lse_of(const AttentionReference& reference) {
  LogSumExp<T> lse;
  for (const double value : reference.lse) lse.push_back(static_cast<accumulation_t<T>>(value));
  return lse;
}

// What attention() leaves for this pass.
template <typename T>
LogSumExp<T> lse_of_attention(const AttentionInputs<T>& inputs) {
  const AttentionShape<T>& shape = inputs.shape;
  const std::int64_t stride = shape.num_heads * shape.head_dim;
  std::vector<T> out(static_cast<std::size_t>(shape.num_queries * stride));
  LogSumExp<T> lse(static_cast<std::size_t>(shape.num_heads * shape.num_queries));
  cpu::attention(AttentionParams<T>{.shape = shape,
                                    .v = inputs.v_rows,
                                    .out = {out.data(), stride, shape.head_dim},
                                    .lse_AT = lse.data()});
  return lse;
}

template <typename T>
std::vector<double> run(const AttentionInputs<T>& inputs, const LogSumExp<T>& lse,
                        AttentionStatistic statistic) {
  Guarded<accumulation_t<T>> out(inputs.shape.num_queries);
  cpu::attention_importance(AttentionImportanceParams<T>{.shape = inputs.shape,
                                                         .lse_AT = lse.data(),
                                                         .statistic = statistic,
                                                         .importance_T = out.data()});
  EXPECT_TRUE(out.bands_are_intact());
  std::vector<double> values;
  for (std::int64_t i = 0; i < inputs.shape.num_queries; ++i) values.push_back(out[i]);
  return values;
}

double probability(const AttentionCase& c, const AttentionReference& reference, std::int64_t head,
                   std::int64_t query, std::int64_t key) {
  return reference.probability[static_cast<std::size_t>(
      (head * c.num_queries() + query) * c.num_key_rows + key)];
}

// The definitions, from explicit probabilities.
double expected_row(const AttentionCase& c, const AttentionReference& reference, std::int64_t query,
                    bool peak) {
  if (!c.is_valid(c.own_key(query))) return 0.0;
  std::int64_t visible = 0;
  for (std::int64_t key = 0; key < c.num_key_rows; ++key) visible += c.sees(query, key) ? 1 : 0;
  if (visible == 1) return 1.0;
  double sum = 0.0;
  for (std::int64_t head = 0; head < c.num_heads; ++head) {
    double largest = 0.0;
    double entropy = 0.0;
    for (std::int64_t key = 0; key < c.num_key_rows; ++key) {
      const double p = probability(c, reference, head, query, key);
      largest = std::max(largest, p);
      if (p > 0.0) entropy -= p * std::log(p);
    }
    sum += peak ? largest : entropy / std::log(static_cast<double>(visible));
  }
  return sum / static_cast<double>(c.num_heads);
}

double expected_received(const AttentionCase& c, const AttentionReference& reference,
                         std::int64_t token) {
  const std::int64_t sequence = c.sequence_of(token);
  double sum = 0.0;
  double num_queries = 0.0;
  for (std::int64_t query = 0; query < c.num_queries(); ++query) {
    if (c.sequence_of(query) != sequence || !c.is_valid(query)) continue;
    num_queries += 1.0;
    for (std::int64_t head = 0; head < c.num_heads; ++head) {
      sum += probability(c, reference, head, query, token);
    }
  }
  return sum / (num_queries * static_cast<double>(c.num_heads));
}

double expected_received_peak(const AttentionCase& c, const AttentionReference& reference,
                              std::int64_t token) {
  double sum = 0.0;
  for (std::int64_t head = 0; head < c.num_heads; ++head) {
    double largest = 0.0;
    for (std::int64_t query = 0; query < c.num_queries(); ++query) {
      if (c.sequence_of(query) != c.sequence_of(token) || !c.is_valid(query)) continue;
      largest = std::max(largest, probability(c, reference, head, query, token));
    }
    sum += largest;
  }
  return sum / static_cast<double>(c.num_heads);
}

template <typename T>
void expect_row_measures(const AttentionCase& c, const AttentionReference& reference,
                         const AttentionInputs<T>& inputs, const LogSumExp<T>& lse) {
  const std::vector<double> peak = run(inputs, lse, AttentionStatistic::peak);
  const std::vector<double> entropy = run(inputs, lse, AttentionStatistic::entropy);
  for (std::int64_t query = 0; query < c.num_queries(); ++query) {
    const auto i = static_cast<std::size_t>(query);
    ASSERT_NEAR(peak[i], expected_row(c, reference, query, true), tolerance<T>())
        << "query " << query;
    ASSERT_NEAR(entropy[i], expected_row(c, reference, query, false), tolerance<T>())
        << "query " << query;
  }
}

bool is_received_defined(const AttentionCase& c) {
  return !c.causal && c.num_key_rows == c.num_queries();
}

template <typename T>
void expect_received(const AttentionCase& c, const AttentionReference& reference,
                     const AttentionInputs<T>& inputs, const LogSumExp<T>& lse) {
  const std::vector<double> received = run(inputs, lse, AttentionStatistic::received);
  const std::vector<double> peak = run(inputs, lse, AttentionStatistic::received_peak);
  for (std::int64_t token = 0; token < c.num_queries(); ++token) {
    const auto i = static_cast<std::size_t>(token);
    ASSERT_NEAR(received[i], expected_received(c, reference, token), tolerance<T>())
        << "token " << token;
    ASSERT_NEAR(peak[i], expected_received_peak(c, reference, token), tolerance<T>())
        << "token " << token;
  }
}

template <typename T>
class AttentionImportanceKernel : public ::testing::Test {};
using StorageTypes = ::testing::Types<float, double, BFloat16>;
TYPED_TEST_SUITE(AttentionImportanceKernel, StorageTypes);

TYPED_TEST(AttentionImportanceKernel, RowMeasuresAgreeWithExplicitProbabilities) {
  for (const AttentionCase& c : attention_cases()) {
    SCOPED_TRACE(c.name);
    const AttentionReference reference(c);
    const AttentionInputs<TypeParam> inputs(c, reference);
    expect_row_measures(c, reference, inputs, lse_of<TypeParam>(reference));
  }
}

TYPED_TEST(AttentionImportanceKernel, ReceivedAttentionAgreesWithExplicitProbabilities) {
  for (const AttentionCase& c : attention_cases()) {
    if (!is_received_defined(c)) continue;
    SCOPED_TRACE(c.name);
    const AttentionReference reference(c);
    const AttentionInputs<TypeParam> inputs(c, reference);
    expect_received(c, reference, inputs, lse_of<TypeParam>(reference));
  }
}

TYPED_TEST(AttentionImportanceKernel, AllMeasuresAgreeBehindAttentionsOwnLogSumExp) {
  for (const AttentionCase& c : attention_cases()) {
    SCOPED_TRACE(c.name);
    const AttentionReference reference(c);
    const AttentionInputs<TypeParam> inputs(c, reference);
    const LogSumExp<TypeParam> lse = lse_of_attention(inputs);
    expect_row_measures(c, reference, inputs, lse);
    if (is_received_defined(c)) expect_received(c, reference, inputs, lse);
  }
}

}  // namespace
}  // namespace switchyard::kernels
