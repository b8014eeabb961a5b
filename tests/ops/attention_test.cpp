#include "switchyard/ops/attention.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "support/gradient.h"
#include "support/tensors.h"
#include "switchyard/core/error.h"

namespace switchyard::ops {
namespace {

using testing::expect_close;
using testing::expect_gradients_match;
using testing::random_normal;
using testing::with_grad;

at::Tensor valid_except(std::int64_t num_tokens, const std::vector<std::int64_t>& invalid) {
  at::Tensor valid_T = at::full({num_tokens}, true, at::kBool);
  for (const std::int64_t token : invalid) valid_T[token] = false;
  return valid_T;
}

// A weighted sum, so that no gradient is hidden by symmetry.
at::Tensor weighted_sum(const at::Tensor& x, std::uint64_t seed) {
  return (x * random_normal(x.sizes().vec(), seed)).sum();
}

TEST(Attention, GradientsMatchDifferencesForPackedSequencesGroupsAndPadding) {
  struct Case {
    std::int64_t heads, groups;
    AttentionOptions options;
  };
  const std::vector<Case> cases{
      {2, 2, {.sequence_offset = {0, 7}}},
      {4, 2, {.sequence_offset = {0, 3, 4, 7}}},
      {4, 1, {.sequence_offset = {0, 4, 7}, .causal = false, .scale = 0.3}},
      {2, 1, {.sequence_offset = {0, 4, 7}, .valid_T = valid_except(7, {0, 6})}},
      {2, 1, {.sequence_offset = {0, 7}, .causal = false, .valid_T = valid_except(7, {0, 3, 6})}},
  };
  for (std::size_t i = 0; i < cases.size(); ++i) {
    SCOPED_TRACE(i);
    const Case& c = cases[i];
    expect_gradients_match(
        [&](const std::vector<at::Tensor>& in) {
          return weighted_sum(attention(in[0], in[1], in[2], c.options).out_TAD, 9);
        },
        {with_grad(random_normal({7, c.heads, 6}, 1)),
         with_grad(random_normal({7, c.groups, 6}, 2)),
         with_grad(random_normal({7, c.groups, 6}, 3))});
  }
}

TEST(Attention, GradientsReachCachedKeysAndNoOtherRows) {
  const AttentionOptions options{
      .sequence_offset = {0, 2, 3}, .key_begin = {1, 6}, .key_end = {5, 7}};
  expect_gradients_match(
      [&](const std::vector<at::Tensor>& in) {
        return weighted_sum(attention(in[0], in[1], in[2], options).out_TAD, 9);
      },
      {with_grad(random_normal({3, 2, 4}, 1)), with_grad(random_normal({8, 1, 4}, 2)),
       with_grad(random_normal({8, 1, 4}, 3))});
}

TEST(Attention, ReadsSlicesOfAFusedProjection) {
  const at::Tensor qkv = random_normal({10, 6, 4}, 1, at::kFloat);
  const AttentionOptions options{.sequence_offset = {0, 10}};
  const at::Tensor q = qkv.narrow(1, 0, 2);
  const at::Tensor k = qkv.narrow(1, 2, 2);
  const at::Tensor v = qkv.narrow(1, 4, 2);
  const AttentionOutput strided = attention(q, k, v, options);
  const AttentionOutput dense = attention(q.contiguous(), k.contiguous(), v.contiguous(), options);
  EXPECT_TRUE(at::equal(strided.out_TAD, dense.out_TAD));
  EXPECT_TRUE(at::equal(strided.lse_AT, dense.lse_AT));
  // A layout whose head elements are not neighbours.
  const at::Tensor odd = q.contiguous().transpose(0, 2).contiguous().transpose(0, 2);
  EXPECT_TRUE(at::equal(attention(odd, k, v, options).out_TAD, dense.out_TAD));
}

TEST(Attention, AcceptsTheExpandedGradientOfASum) {
  const AttentionOptions options{.sequence_offset = {0, 3}};
  const at::Tensor q = with_grad(random_normal({3, 1, 4}, 1));
  const at::Tensor v = with_grad(random_normal({3, 1, 4}, 3));
  attention(q, random_normal({3, 1, 4}, 2), v, options).out_TAD.sum().backward();
  // Each query's probabilities sum to 1, so all of v together get one per query and element.
  expect_close(v.grad().sum(), at::full({}, 12.0, at::kDouble), 1e-12, 0.0);
}

TEST(Attention, LogSumExpCarriesNoGradient) {
  const at::Tensor q = with_grad(random_normal({3, 1, 4}, 1));
  const AttentionOutput out = attention(q, q, q, {.sequence_offset = {0, 3}});
  EXPECT_TRUE(out.out_TAD.requires_grad());
  EXPECT_FALSE(out.lse_AT.requires_grad());
}

TEST(Attention, PackedSequencesEqualSeparateCalls) {
  const at::Tensor q = random_normal({50, 2, 8}, 1, at::kFloat);
  const at::Tensor k = random_normal({50, 2, 8}, 2, at::kFloat);
  const at::Tensor v = random_normal({50, 2, 8}, 3, at::kFloat);
  const at::Tensor packed = attention(q, k, v, {.sequence_offset = {0, 20, 50}}).out_TAD;
  const auto part = [&](std::int64_t begin, std::int64_t length) {
    return attention(q.narrow(0, begin, length), k.narrow(0, begin, length),
                     v.narrow(0, begin, length), {.sequence_offset = {0, length}})
        .out_TAD;
  };
  EXPECT_TRUE(at::equal(packed, at::cat({part(0, 20), part(20, 30)})));
}

TEST(Attention, ALaterTokenChangesNoEarlierOutput) {
  const at::Tensor q = random_normal({200, 1, 8}, 1, at::kFloat);
  const at::Tensor k = random_normal({200, 1, 8}, 2, at::kFloat);
  const at::Tensor before = attention(q, k, k, {.sequence_offset = {0, 200}}).out_TAD;
  const at::Tensor changed = k.clone();
  changed[150] += 5.0;
  const at::Tensor after = attention(q, changed, changed, {.sequence_offset = {0, 200}}).out_TAD;
  EXPECT_TRUE(at::equal(before.narrow(0, 0, 150), after.narrow(0, 0, 150)));
  EXPECT_FALSE(at::equal(before.narrow(0, 150, 50), after.narrow(0, 150, 50)));
}

TEST(Attention, InvalidKeysAreNeverAttendedTo) {
  const at::Tensor q = random_normal({6, 1, 4}, 1, at::kFloat);
  at::Tensor k = random_normal({6, 1, 4}, 2, at::kFloat);
  const AttentionOptions options{.sequence_offset = {0, 6}, .valid_T = valid_except(6, {0, 4})};
  const at::Tensor before = attention(q, k, k, options).out_TAD;
  k = k.clone();
  k[0] = 1e6;
  k[4] = -1e6;
  EXPECT_TRUE(at::equal(before, attention(q, k, k, options).out_TAD));
}

TEST(Attention, AQueryWithoutKeysGetsZeroAndGivesNoGradient) {
  const at::Tensor q = with_grad(random_normal({2, 1, 4}, 1));
  const at::Tensor k = with_grad(random_normal({2, 1, 4}, 2));
  const AttentionOutput out =
      attention(q, k, k, {.sequence_offset = {0, 2}, .valid_T = valid_except(2, {0, 1})});
  EXPECT_TRUE(at::equal(out.out_TAD, at::zeros({2, 1, 4}, at::kDouble)));
  EXPECT_TRUE(at::equal(out.lse_AT, at::zeros({1, 2}, at::kDouble)));
  out.out_TAD.sum().backward();
  EXPECT_EQ(q.grad().abs().sum().item<double>(), 0.0);
  EXPECT_EQ(k.grad().abs().sum().item<double>(), 0.0);
}

TEST(Attention, AKeyThatIsNotFiniteReachesEveryQueryThatSeesIt) {
  constexpr std::int64_t kTokens = 70;  // more than a tile of keys
  const at::Tensor q = random_normal({kTokens, 1, 4}, 1, at::kFloat);
  for (const std::int64_t bad : {0, 2, 65, 69}) {
    const at::Tensor k = random_normal({kTokens, 1, 4}, 2, at::kFloat);
    k[bad] = std::numeric_limits<float>::quiet_NaN();
    const at::Tensor out = attention(q, k, q, {.sequence_offset = {0, kTokens}}).out_TAD;
    EXPECT_TRUE(out.narrow(0, 0, bad).isfinite().all().item<bool>()) << bad;
    EXPECT_TRUE(out.narrow(0, bad, kTokens - bad).isnan().all().item<bool>()) << bad;
  }
}

TEST(Attention, AValueThatIsNotFiniteReachesNoQueryThatDoesNotSeeIt) {
  constexpr std::int64_t kTokens = 70;
  const at::Tensor q = random_normal({kTokens, 1, 4}, 1, at::kFloat);
  const at::Tensor good = random_normal({kTokens, 1, 4}, 2, at::kFloat);
  const at::Tensor before = attention(q, good, good, {.sequence_offset = {0, kTokens}}).out_TAD;
  for (const std::int64_t bad : {1, 3, 66}) {
    const at::Tensor v = good.clone();
    v[bad] = std::numeric_limits<float>::quiet_NaN();
    const at::Tensor out = attention(q, good, v, {.sequence_offset = {0, kTokens}}).out_TAD;
    expect_close(out.narrow(0, 0, bad), before.narrow(0, 0, bad), 1e-6, 1e-6);
    EXPECT_TRUE(out.narrow(0, bad, kTokens - bad).isnan().all().item<bool>()) << bad;
  }
}

TEST(Attention, PaddingThatIsNotFiniteReachesNothing) {
  const AttentionOptions options{.sequence_offset = {0, 6}, .valid_T = valid_except(6, {0, 4})};
  const at::Tensor q = random_normal({6, 1, 4}, 1);
  at::Tensor k = random_normal({6, 1, 4}, 2);
  const at::Tensor before = attention(q, k, k, options).out_TAD;
  k = k.clone();
  for (const std::int64_t padding : {0, 4}) k[padding] = std::numeric_limits<double>::quiet_NaN();
  const at::Tensor q_grad = with_grad(q);
  const at::Tensor after = attention(q_grad, k, k, options).out_TAD;
  expect_close(after, before, 1e-12, 1e-12);
}

TEST(Attention, LargeScoresDoNotOverflow) {
  const at::Tensor q = at::full({3, 1, 4}, 100.0, at::kFloat);
  const at::Tensor v = random_normal({3, 1, 4}, 3, at::kFloat);
  const at::Tensor out = attention(q, q, v, {.sequence_offset = {0, 3}}).out_TAD;
  expect_close(out[2], v.mean(0), 1e-5, 0.0);
}

TEST(Attention, NoTokensGiveNoTokens) {
  const at::Tensor q = with_grad(at::zeros({0, 2, 4}, at::kFloat));
  const AttentionOutput out = attention(q, q, q, {.sequence_offset = {0}});
  EXPECT_EQ(out.out_TAD.sizes(), (std::vector<std::int64_t>{0, 2, 4}));
  out.out_TAD.sum().backward();
  EXPECT_EQ(q.grad().numel(), 0);
}

TEST(Attention, ArgumentsThatDoNotFitAreRefused) {
  const at::Tensor q = random_normal({4, 3, 4}, 1);
  const at::Tensor k = random_normal({4, 2, 4}, 2);
  EXPECT_THROW((void)attention(q, k, k, {.sequence_offset = {0, 4}}), InternalError);
  EXPECT_THROW((void)attention(q, q, q, {.sequence_offset = {0, 3}}), InternalError);
  EXPECT_THROW((void)attention(q, q, q, {.sequence_offset = {0, 3, 2, 4}}), InternalError);
  EXPECT_THROW((void)attention(q, q.to(at::kFloat), q, {.sequence_offset = {0, 4}}), InternalError);
  EXPECT_THROW(
      (void)attention(q, q, q, {.sequence_offset = {0, 4}, .key_begin = {0}, .key_end = {3}}),
      InternalError);
}

}  // namespace
}  // namespace switchyard::ops
