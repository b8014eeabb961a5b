#include "switchyard/ops/attention_importance.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "support/tensors.h"
#include "switchyard/core/error.h"

namespace switchyard::ops {
namespace {

using testing::expect_close;
using testing::random_normal;

at::Tensor measure_of(const at::Tensor& q, const at::Tensor& k, const AttentionOptions& options,
                      ImportanceMeasure measure) {
  const AttentionOutput out = attention(q, k, k, options);
  return attention_importance(q, k, out.lse_AT, options, measure);
}

// The definitions themselves are checked against explicit probabilities in tests/kernels.
TEST(AttentionImportance, UniformAttentionHasEntropyOneAndPeakOneOverTheVisibleKeys) {
  const at::Tensor q = at::zeros({4, 2, 6}, at::kFloat);
  const AttentionOptions options{.sequence_offset = {0, 4}};
  expect_close(measure_of(q, q, options, ImportanceMeasure::entropy), at::ones({4}), 1e-6, 0.0);
  const at::Tensor peak = measure_of(q, q, options, ImportanceMeasure::peak);
  for (std::int64_t i = 0; i < 4; ++i) {
    EXPECT_FLOAT_EQ(peak[i].item<float>(), 1.0F / static_cast<float>(i + 1));
  }
}

TEST(AttentionImportance, ReceivedAttentionOfASequenceAveragesToOneOverItsLength) {
  const at::Tensor q = random_normal({9, 2, 6}, 1);
  const AttentionOptions options{.sequence_offset = {0, 4, 9}, .causal = false};
  const at::Tensor received = measure_of(q, q, options, ImportanceMeasure::received);
  // Every query gives away 1 in all.
  EXPECT_NEAR(received.narrow(0, 0, 4).sum().item<double>(), 1.0, 1e-12);
  EXPECT_NEAR(received.narrow(0, 4, 5).sum().item<double>(), 1.0, 1e-12);
}

TEST(AttentionImportance, AFutureTokenChangesNoEarlierValue) {
  const at::Tensor q = random_normal({200, 2, 6}, 1, at::kFloat);
  const at::Tensor changed = q.clone();
  changed.narrow(0, 100, 100) += 3.0;
  const AttentionOptions options{.sequence_offset = {0, 200}};
  for (const ImportanceMeasure measure : {ImportanceMeasure::peak, ImportanceMeasure::entropy}) {
    const at::Tensor before = measure_of(q, q, options, measure);
    const at::Tensor after = measure_of(changed, changed, options, measure);
    EXPECT_TRUE(at::equal(before.narrow(0, 0, 100), after.narrow(0, 0, 100)));
    EXPECT_FALSE(at::equal(before.narrow(0, 100, 100), after.narrow(0, 100, 100)));
  }
}

TEST(AttentionImportance, OneCachedStepEqualsTheLastRowOfTheWholeSequence) {
  const at::Tensor q = random_normal({30, 4, 6}, 1);
  const at::Tensor k = random_normal({30, 2, 6}, 2);
  const AttentionOptions step{.sequence_offset = {0, 1}, .key_begin = {0}, .key_end = {30}};
  for (const ImportanceMeasure measure : {ImportanceMeasure::peak, ImportanceMeasure::entropy}) {
    const at::Tensor whole = measure_of(q, k, {.sequence_offset = {0, 30}}, measure);
    expect_close(measure_of(q.narrow(0, 29, 1), k, step, measure), whole.narrow(0, 29, 1), 1e-12,
                 0.0);
  }
}

TEST(AttentionImportance, CarriesNoGradientAndIsOfTheAccumulationType) {
  const at::Tensor q = random_normal({4, 2, 6}, 1, at::kBFloat16).set_requires_grad(true);
  const at::Tensor value =
      measure_of(q, q, {.sequence_offset = {0, 4}}, ImportanceMeasure::entropy);
  EXPECT_FALSE(value.requires_grad());
  EXPECT_EQ(value.scalar_type(), at::kFloat);
}

TEST(AttentionImportance, ReceivedAttentionIsRefusedWhereItWouldReadTheFuture) {
  const at::Tensor q = random_normal({4, 2, 6}, 1);
  EXPECT_THROW((void)measure_of(q, q, {.sequence_offset = {0, 4}}, ImportanceMeasure::received),
               InternalError);
  EXPECT_THROW((void)measure_of(q, q, {.sequence_offset = {0, 4}}, ImportanceMeasure::none),
               InternalError);
}

}  // namespace
}  // namespace switchyard::ops
