#include "switchyard/routing/losses.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/isfinite.h>
#include <gtest/gtest.h>

#include <cmath>
#include <tuple>

#include "routing/loss_definition.h"
#include "routing/router_cases.h"
#include "routing/routing_fixture.h"
#include "switchyard/core/error.h"

namespace switchyard::routing {
namespace {

using namespace testing;  // NOLINT: the fixture of this folder

config::MoeLossConfig loss_config(const std::string& scope, const std::string& normalize) {
  config::MoeLossConfig config;
  config.scope = scope;
  config.normalize = normalize;
  return config;
}

// The sequences of a step: [length, hidden] states and which tokens are valid.
struct Sequence {
  at::Tensor x_SH;
  std::vector<bool> valid;
};

// Eight sequences of several lengths, padded here and there; the last is padding altogether.
std::vector<Sequence> make_sequences() {
  const std::vector<std::int64_t> lengths = {4, 2, 7, 1, 3, 5, 6, 2};
  std::vector<Sequence> sequences;
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    Sequence sequence;
    sequence.x_SH = uniform({lengths[i], kHidden}, 500 + i).mul(1.5);
    for (std::int64_t position = 0; position < lengths[i]; ++position) {
      sequence.valid.push_back(i != 7 && (static_cast<std::int64_t>(i) + position) % 4 != 3);
    }
    sequences.push_back(sequence);
  }
  return sequences;
}

// Which sequences each rank routes in each micro-step: split[micro-step][rank].
using Split = std::vector<std::vector<std::vector<std::size_t>>>;

RouterInput batch_of(const std::vector<Sequence>& sequences,
                     const std::vector<std::size_t>& which) {
  RouterInput input;
  std::vector<std::int64_t> lengths;
  std::vector<bool> valid;
  at::Tensor x_TH = at::empty({0, kHidden}, at::kDouble);
  for (const std::size_t i : which) {
    const Sequence& sequence = sequences[i];
    lengths.push_back(sequence.x_SH.size(0));
    valid.insert(valid.end(), sequence.valid.begin(), sequence.valid.end());
    x_TH = at::cat({x_TH, sequence.x_SH}, 0);
  }
  input.x_TH = x_TH;
  input.valid_T = mask(valid);
  input.sequence_offset_B1 = offsets(lengths);
  input.training = true;
  return input;
}

// What `train` does: route every micro-batch, add the counts over ranks, add all shares.
LossShares step_losses(Router& router, const std::vector<Sequence>& sequences, const Split& split,
                       const config::MoeLossConfig& config) {
  std::vector<std::vector<ops::RouteSums>> sums;
  std::vector<MicroStepCounts> counts;
  std::int64_t step_tokens = 0;
  for (const auto& micro_step : split) {
    sums.emplace_back();
    MicroStepCounts count;
    count.count_E = at::zeros({kExperts}, at::kLong);
    for (const auto& which : micro_step) {
      sums.back().push_back(router.route(batch_of(sequences, which)).sums);
      count.count_E += sums.back().back().count_BE.sum(0);
      count.num_tokens += sums.back().back().num_tokens_B.sum().item<std::int64_t>();
    }
    step_tokens += count.num_tokens;
    counts.push_back(count);
  }
  LossShares total;
  const at::Tensor zero = at::zeros({}, at::kDouble);
  total.load_balance = total.dynamic = total.z = zero;
  for (std::size_t m = 0; m < split.size(); ++m) {
    for (const ops::RouteSums& local : sums[m]) {
      const LossShares share = loss_shares(local, counts[m], step_tokens, config);
      total.load_balance = total.load_balance.add(share.load_balance);
      total.dynamic = total.dynamic.add(share.dynamic);
      total.z = total.z.add(share.z);
    }
  }
  return total;
}

constexpr double kP = 0.6;

DefinedLosses defined_losses(Router& router, const std::vector<Sequence>& sequences,
                             const Split& split, const config::MoeLossConfig& config) {
  const at::Tensor weight_EH = router.weight().value.detach();
  const double* weight = weight_EH.const_data_ptr<double>();
  DefinedStep step;
  for (const auto& micro_step : split) {
    step.emplace_back();
    for (const auto& which : micro_step) {
      step.back().emplace_back();
      for (const std::size_t i : which) {
        step.back().back().emplace_back();
        const double* x = sequences[i].x_SH.const_data_ptr<double>();
        for (std::size_t position = 0; position < sequences[i].valid.size(); ++position) {
          DefinedToken token;
          token.valid = sequences[i].valid[position];
          for (std::int64_t e = 0; e < kExperts; ++e) {
            token.logits.push_back(0.0);
            for (std::int64_t h = 0; h < kHidden; ++h) {
              token.logits.back() +=
                  x[static_cast<std::int64_t>(position) * kHidden + h] * weight[e * kHidden + h];
            }
          }
          token.chosen = chosen_by_top_p(token.logits, kP);
          step.back().back().back().push_back(token);
        }
      }
    }
  }
  return losses_by_definition(step, config.scope, config.normalize);
}

// The same eight sequences in several layouts. The first two are one micro-step.
const std::vector<Split> kSplits = {
    {{{0, 1, 2, 3, 4, 5, 6, 7}}},
    {{{0, 3, 6}, {1, 4, 7}, {2, 5}}},
    {{{0, 1, 2, 3}}, {{4, 5, 6, 7}}},
    {{{0, 1}, {2, 3}}, {{4, 5}, {6, 7}}},
    {{{0}, {7}}, {{1}, {}}, {{2, 3}, {4, 5}}, {{7}, {6}}},
};

std::unique_ptr<Router> varied_router() {
  return build_router(top_p_config(kP), true, at::kDouble);
}

void expect_close(const at::Tensor& got, double expected, const std::string& what) {
  EXPECT_NEAR(got.item<double>(), expected, 1e-12 + 1e-12 * std::abs(expected)) << what;
}

class RouterLosses
    : public ::testing::TestWithParam<std::tuple<const char*, const char*, std::size_t>> {
 protected:
  [[nodiscard]] static config::MoeLossConfig config() {
    return loss_config(std::get<0>(GetParam()), std::get<1>(GetParam()));
  }
  [[nodiscard]] static const Split& split() { return kSplits[std::get<2>(GetParam())]; }
};

INSTANTIATE_TEST_SUITE_P(Layouts, RouterLosses,
                         ::testing::Combine(::testing::Values("global", "sequence", "local"),
                                            ::testing::Values("tokens", "assignments"),
                                            ::testing::Range(std::size_t{0}, kSplits.size())),
                         [](const auto& instance) {
                           return std::string(std::get<0>(instance.param)) + "_" +
                                  std::get<1>(instance.param) + "_layout" +
                                  std::to_string(std::get<2>(instance.param));
                         });

TEST_P(RouterLosses, MatchTheirDefinition) {
  const auto router = varied_router();
  const std::vector<Sequence> sequences = make_sequences();
  const LossShares got = step_losses(*router, sequences, split(), config());
  const DefinedLosses expected = defined_losses(*router, sequences, split(), config());
  expect_close(got.load_balance, expected.load_balance, "load balance");
  expect_close(got.dynamic, expected.dynamic, "dynamic");
  expect_close(got.z, expected.z, "z");
}

TEST_P(RouterLosses, GradientsMatchCentralDifferencesWithCountsHeld) {
  const auto router = varied_router();
  std::vector<Sequence> sequences = make_sequences();
  for (Sequence& sequence : sequences) {
    sequence.x_SH.set_requires_grad(true);
  }
  const auto objective = [&] {
    const LossShares shares = step_losses(*router, sequences, split(), config());
    return shares.load_balance.add(shares.dynamic, 0.5).add(shares.z, 0.25);
  };
  objective().backward();
  // Counts are constants: away from the cuts that holds by itself.
  const auto check = [&](const at::Tensor& leaf, std::int64_t stride) {
    double* element = leaf.detach().mutable_data_ptr<double>();
    for (std::int64_t i = 0; i < leaf.numel(); i += stride) {
      constexpr double kStep = 1e-6;
      const double original = element[i];
      element[i] = original + kStep;
      const double above = objective().item<double>();
      element[i] = original - kStep;
      const double below = objective().item<double>();
      element[i] = original;
      const double expected = (above - below) / (2.0 * kStep);
      EXPECT_NEAR(leaf.grad().reshape({-1})[i].item<double>(), expected,
                  1e-9 + 1e-6 * std::abs(expected));
    }
  };
  check(router->weight().value, 4);
  check(sequences[2].x_SH, 6);
  EXPECT_EQ(sequences[7].x_SH.grad().abs().sum().item<double>(), 0.0);  // padding
}

TEST(RouterLosses, TheTestStepChoosesAVaryingNumberOfExperts) {
  const auto router = varied_router();
  const auto result = router->route(batch_of(make_sequences(), {0, 1, 2, 3, 4, 5, 6, 7}));
  EXPECT_GE(result.sums.k_histogram_E1.gt(0).sum().item<std::int64_t>(), 3);
}

TEST(RouterLosses, DynamicAndZDoNotDependOnTheLayout) {
  const auto router = varied_router();
  const std::vector<Sequence> sequences = make_sequences();
  const auto config = loss_config("global", "tokens");
  const LossShares reference = step_losses(*router, sequences, kSplits[0], config);
  for (const Split& split : kSplits) {
    const LossShares got = step_losses(*router, sequences, split, config);
    expect_close(got.dynamic, reference.dynamic.item<double>(), "dynamic");
    expect_close(got.z, reference.z.item<double>(), "z");
  }
}

TEST(RouterLosses, SequenceScopeDoesNotDependOnTheLayout) {
  const auto router = varied_router();
  const std::vector<Sequence> sequences = make_sequences();
  for (const char* normalize : {"tokens", "assignments"}) {
    const auto config = loss_config("sequence", normalize);
    const double reference =
        step_losses(*router, sequences, kSplits[0], config).load_balance.item<double>();
    for (const Split& split : kSplits) {
      expect_close(step_losses(*router, sequences, split, config).load_balance, reference,
                   normalize);
    }
  }
}

TEST(RouterLosses, GlobalScopeDependsOnMicroStepsButNotOnRanks) {
  const auto router = varied_router();
  const std::vector<Sequence> sequences = make_sequences();
  for (const char* normalize : {"tokens", "assignments"}) {
    const auto config = loss_config("global", normalize);
    const double one_rank =
        step_losses(*router, sequences, kSplits[0], config).load_balance.item<double>();
    expect_close(step_losses(*router, sequences, kSplits[1], config).load_balance, one_rank,
                 normalize);
    EXPECT_GT(
        std::abs(step_losses(*router, sequences, kSplits[2], config).load_balance.item<double>() -
                 one_rank),
        1e-4);
    EXPECT_GT(std::abs(step_losses(*router, sequences, kSplits[1], loss_config("local", normalize))
                           .load_balance.item<double>() -
                       one_rank),
              1e-4);
  }
}

// Equal logits: P = 1/4, two of four experts chosen by every token.
TEST(RouterLosses, HaveTheValuesOfAHandCalculation) {
  const auto router = build_identity_router(top_k_config(2, true), 4, true, at::kDouble);
  RouterInput input = make_input({3, 2}, {2}, 1, at::kDouble, 4);
  input.x_TH.zero_();
  const ops::RouteSums sums = router->route(input).sums;
  const MicroStepCounts counts{sums.count_BE.sum(0), 4};
  for (const char* scope : {"global", "sequence", "local"}) {
    const LossShares by_tokens = loss_shares(sums, counts, 4, loss_config(scope, "tokens"));
    expect_close(by_tokens.load_balance, 2.0, scope);  // 4 * (1 * 1/4 + 1 * 1/4)
    expect_close(by_tokens.dynamic, std::log(4.0), scope);
    expect_close(by_tokens.z, std::log(4.0) * std::log(4.0), scope);
    expect_close(loss_shares(sums, counts, 4, loss_config(scope, "assignments")).load_balance, 1.0,
                 scope);
    // As one of two equal micro-steps it is half of the step.
    expect_close(loss_shares(sums, counts, 8, loss_config(scope, "tokens")).load_balance, 1.0,
                 scope);
  }
}

TEST(RouterLosses, ComeInTheAccumulationType) {
  const auto router = build_router(top_p_config(kP), true, at::kBFloat16);
  const ops::RouteSums sums = router->route(padded_input(1, at::kBFloat16)).sums;
  const LossShares shares =
      loss_shares(sums, {sums.count_BE.sum(0), 9}, 9, loss_config("global", "tokens"));
  for (const at::Tensor& share : {shares.load_balance, shares.dynamic, shares.z}) {
    EXPECT_EQ(share.scalar_type(), at::kFloat);
    EXPECT_EQ(share.dim(), 0);
    EXPECT_TRUE(share.requires_grad());
  }
}

// Sums by hand: tokens that took no expert, or no tokens at all.
ops::RouteSums sums_without_rows(std::int64_t tokens_per_sequence) {
  ops::RouteSums sums;
  sums.count_BE = at::zeros({2, 3}, at::kLong);
  sums.num_tokens_B = at::full({2}, tokens_per_sequence, at::kLong);
  sums.k_histogram_E1 = at::zeros({4}, at::kLong);
  sums.prob_sum_BE = at::full({2, 3}, static_cast<double>(tokens_per_sequence) / 3.0, at::kDouble);
  sums.prob_sum_BE.set_requires_grad(true);
  sums.entropy_sum = at::zeros({}, at::kDouble);
  sums.z_sum = at::zeros({}, at::kDouble);
  return sums;
}

TEST(RouterLosses, AreZeroWithZeroGradientWithoutRowsOrTokens) {
  for (const char* scope : {"global", "sequence", "local"}) {
    for (const char* normalize : {"tokens", "assignments"}) {
      for (const std::int64_t per_sequence : {0, 2}) {
        for (const std::int64_t step_tokens : {2 * per_sequence, 2 * per_sequence + 10}) {
          const ops::RouteSums sums = sums_without_rows(per_sequence);
          const MicroStepCounts counts{at::zeros({3}, at::kLong), 2 * per_sequence};
          const LossShares shares =
              loss_shares(sums, counts, step_tokens, loss_config(scope, normalize));
          for (const at::Tensor& share : {shares.load_balance, shares.dynamic, shares.z}) {
            EXPECT_EQ(share.item<double>(), 0.0);
          }
          if (shares.load_balance.requires_grad()) {
            shares.load_balance.backward();
            EXPECT_EQ(sums.prob_sum_BE.grad().abs().max().item<double>(), 0.0);
          }
        }
      }
    }
  }
}

TEST(RouterLosses, ARankWithoutTokensAddsNothingToTheOthers) {
  const LossShares shares = loss_shares(sums_without_rows(0), {at::full({3}, 5, at::kLong), 15}, 15,
                                        loss_config("global", "tokens"));
  EXPECT_EQ(shares.load_balance.item<double>(), 0.0);
}

TEST(RouterLosses, RefuseUnknownScopesAndForms) {
  const ops::RouteSums sums = sums_without_rows(1);
  const MicroStepCounts counts{at::zeros({3}, at::kLong), 2};
  EXPECT_THROW((void)loss_shares(sums, counts, 2, loss_config("batch", "tokens")), UsageError);
  EXPECT_THROW((void)loss_shares(sums, counts, 2, loss_config("global", "experts")), UsageError);
}

TEST(RouterLosses, RefuseCountsOfAnotherNumberOfExperts) {
  EXPECT_THROW((void)loss_shares(sums_without_rows(1), {at::zeros({4}, at::kLong), 2}, 2,
                                 loss_config("global", "tokens")),
               InternalError);
}

}  // namespace
}  // namespace switchyard::routing
