// Layouts that train as one rank does pass; every way in which a trainer over ranks is commonly
// wrong fails, and the report says what differs and where.
#include "switchyard/verify/layouts.h"

#include <ATen/core/Tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "support/tiny_model.h"
#include "switchyard/comm/forwarding.h"
#include "switchyard/config/field_table.h"
#include "switchyard/config/router.h"
#include "switchyard/core/error.h"

namespace switchyard::verify {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

config::Config config_of(const std::string& router, const std::string& precision = "fp64") {
  config::Config config = testing::tiny_config(precision);
  config.data.path = "nowhere";
  config.model.moe.layers = {0, 1};
  config.model.moe.router = config::RouterConfig(router);
  config.model.moe.loss = {.load_balance = 0.1, .dynamic = 0.01, .z = 0.01};
  config.optim.clip_norm = 0.5;  // below every norm of these runs
  return config;
}

TEST(ParseLayouts, TakesRanksAndExpertsAndSaysWhatIsWrong) {
  EXPECT_THAT(parse_layouts("1x1,4x2"), ElementsAre(Layout{1, 1}, Layout{4, 2}));
  for (const char* wrong : {"", "4", "x", "4x", "x2", "0x1", "4x0", "-2x1", "4x2,", "4x2x1", "4 x2",
                            "65x1", "99999999999999999999x1", "4X2"}) {
    EXPECT_THROW((void)parse_layouts(wrong), UsageError) << wrong;
  }
}

class VerifyRouters : public ::testing::TestWithParam<std::string> {};

TEST_P(VerifyRouters, EveryLayoutTrainsAsOneRankDoes) {
  const VerifyReport report = verify_layouts(
      config_of(GetParam()), {.layouts = parse_layouts("2x1,2x2,4x2,4x4"), .steps = 4});
  EXPECT_TRUE(report.passed()) << report_page(report);
  EXPECT_TRUE(report.random_tokens);
  for (const LayoutResult& result : report.layouts) {
    EXPECT_GT(result.choices.num_pairs, 4 * 8 * 16);
    EXPECT_EQ(result.choices.num_flipped, 0);
  }
  config::Config whole = config_of(GetParam());
  whole.parallel.shard_optimizer = false;  // every rank updates everything
  const VerifyReport unshared =
      verify_layouts(whole, {.layouts = parse_layouts("4x2"), .steps = 2});
  EXPECT_TRUE(unshared.passed()) << report_page(unshared);
  // Exactly what one rank does, a layout of one rank does.
  const VerifyReport alone =
      verify_layouts(config_of(GetParam()), {.layouts = {Layout{}}, .steps = 2});
  EXPECT_EQ(alone.largest_difference(), 0.0);
  EXPECT_EQ(alone.layouts[0].parameter.relative, 0.0);
}

INSTANTIATE_TEST_SUITE_P(All, VerifyRouters, ::testing::ValuesIn(config::router_types()),
                         [](const auto& instance) { return instance.param; });

TEST(VerifyLayouts, AnEncoderTrainsAsOneRankDoes) {
  for (const char* router : {"top_p", "attention_importance"}) {
    config::Config config = config_of(router);
    config.model.type = "encoder";
    const VerifyReport report =
        verify_layouts(config, {.layouts = parse_layouts("2x1,4x2"), .steps = 3});
    EXPECT_TRUE(report.passed()) << report_page(report);
    for (const LayoutResult& result : report.layouts) {
      EXPECT_GT(result.choices.num_pairs, 3 * 8 * 16);
      EXPECT_EQ(result.choices.num_flipped, 0);
    }
  }
}

TEST(VerifyLayouts, RecomputedAndInSinglePrecision) {
  config::Config config = config_of("top_p", "fp32");
  config.train.recompute = true;
  config.train.micro_batch_size = 4;
  const VerifyReport report =
      verify_layouts(config, {.layouts = parse_layouts("4x1,4x4"), .steps = 3});
  EXPECT_TRUE(report.passed()) << report_page(report);
  EXPECT_GT(report.largest_difference(), 0.0) << "in fp32 another order of sums shows";
}

// ---------------------------------------------------------------- ranks that go wrong

struct Damage {
  std::string collective;  // a part of its name
  std::function<void(at::Tensor& result)> spoil;
};

// Passes everything on; spoils the results of the collectives that the damage names.
class Damaged final : public comm::Forwarding {
 public:
  Damaged(std::unique_ptr<comm::Communicator> inner, Damage damage)
      : Forwarding(std::move(inner)), damage_(std::move(damage)) {}

  void all_reduce_sum(at::Tensor& tensor, std::string_view name) override {
    Forwarding::all_reduce_sum(tensor, name);
    spoil(tensor, name);
  }
  void reduce_scatter_sum(const at::Tensor& all, at::Tensor& own, std::string_view name) override {
    Forwarding::reduce_scatter_sum(all, own, name);
    spoil(own, name);
  }
  void all_gather(const at::Tensor& own, at::Tensor& all, std::string_view name) override {
    Forwarding::all_gather(own, all, name);
    spoil(all, name);
  }
  void all_to_all(const at::Tensor& send, const comm::RankRows& send_rows, at::Tensor& receive,
                  const comm::RankRows& receive_rows, std::string_view name) override {
    Forwarding::all_to_all(send, send_rows, receive, receive_rows, name);
    spoil(receive, name);
  }
  [[nodiscard]] std::unique_ptr<comm::Communicator> split(std::int64_t group,
                                                          std::string_view name) override {
    return std::make_unique<Damaged>(ranks().split(group, name), damage_);
  }

 private:
  void spoil(at::Tensor& result, std::string_view name) const {
    if (result.numel() > 0 && name.find(damage_.collective) != std::string_view::npos) {
      damage_.spoil(result);
    }
  }
  Damage damage_;
};

VerifyReport verify_damaged(const Damage& damage, std::int64_t steps = 3, bool shares_out = true,
                            const std::string& precision = "fp64") {
  config::Config config = config_of("top_p", precision);
  config.parallel.shard_optimizer = shares_out;
  return verify_layouts(config, {.layouts = parse_layouts("4x2"),
                                 .steps = steps,
                                 .wrap = [&damage](std::unique_ptr<comm::Communicator> world) {
                                   return std::make_unique<Damaged>(std::move(world), damage);
                                 }});
}

TEST(VerifyLayouts, SeeExpertGradientsThatAreScaled) {
  const VerifyReport report =
      verify_damaged({"experts.w1", [](at::Tensor& gradient) { gradient.mul_(0.5); }});
  EXPECT_FALSE(report.passed());
  EXPECT_THAT(report_page(report), AllOf(HasSubstr("4x2: clip norm differs by"),
                                         HasSubstr("4x2: parameter differs by")));
}

TEST(VerifyLayouts, SeeAClipNormThatIsAveragedOverRanks) {
  const Damage of_squares{"gradient norms", [](at::Tensor& squares) { squares.mul_(0.25); }};
  const Damage of_experts{"gradient norms of experts",
                          [](at::Tensor& norms) { norms.mul_(std::sqrt(0.5)); }};
  for (const VerifyReport& report :
       {verify_damaged(of_squares), verify_damaged(of_experts, 3, /*shares_out=*/false)}) {
    EXPECT_FALSE(report.passed());
    EXPECT_THAT(report_page(report), HasSubstr("4x2: clip norm differs by"));
    EXPECT_THAT(report.layouts[0].clip_norm.where, HasSubstr("step "));
  }
}

TEST(VerifyLayouts, SeeMastersThatAreNotGathered) {
  const VerifyReport report = verify_damaged(
      {"masters of", [](at::Tensor& masters) { masters.narrow(0, 0, 1).add_(1.0); }});
  EXPECT_FALSE(report.passed());
  EXPECT_THAT(report_page(report), HasSubstr("4x2: parameter differs by"));
}

TEST(VerifyLayouts, SeeARowThatIsDropped) {
  const VerifyReport report =
      verify_damaged({"results of model", [](at::Tensor& rows) { rows.select(0, 0).zero_(); }});
  EXPECT_FALSE(report.passed());
  EXPECT_THAT(report_page(report), HasSubstr("4x2: loss differs by"));
}

// From step 4 on, with choices that flip, which rounding does as well.
TEST(VerifyLayouts, SeeARowThatGoesWrongLaterInSinglePrecision) {
  std::atomic<std::int64_t> num_results = 0;
  std::int64_t num_sound = std::numeric_limits<std::int64_t>::max();
  const Damage damage{"results of model", [&](at::Tensor& rows) {
                        if (num_results++ >= num_sound) rows.select(0, 0).fill_(3.0);
                      }};
  EXPECT_TRUE(verify_damaged(damage, 1, true, "fp32").passed());
  num_sound = 3 * num_results.exchange(0);
  const VerifyReport report = verify_damaged(damage, 6, true, "fp32");
  EXPECT_FALSE(report.passed());
  EXPECT_TRUE(report.layouts[0].first_flip) << report_page(report);
  EXPECT_THAT(report.layouts[0].loss.where, HasSubstr("step 4")) << report_page(report);
}

// What a router carries from step to step changes choices, not losses that are made of logits.
TEST(VerifyLayouts, SeeARoutersSumsThatAreWrong) {
  config::Config config = config_of("attention_importance");
  const Damage damage{"losses",
                      [](at::Tensor& sums) { sums.narrow(0, sums.numel() - 1, 1) *= 1.01; }};
  const VerifyReport report =
      verify_layouts(config, {.layouts = parse_layouts("2x1"),
                              .steps = 2,
                              .wrap = [&damage](std::unique_ptr<comm::Communicator> world) {
                                return std::make_unique<Damaged>(std::move(world), damage);
                              }});
  EXPECT_THAT(report_page(report), HasSubstr("2x1: router state differs by"));
}

// The loss is right for a while in trainers that are wrong in this way.
TEST(VerifyLayouts, SeeARouterThatTheExchangeDetaches) {
  const VerifyReport report = verify_damaged(
      {"gradients of row weights", [](at::Tensor& gradient) { gradient.zero_(); }}, 1);
  EXPECT_FALSE(report.passed());
  EXPECT_THAT(report_page(report), HasSubstr("4x2: gradient differs by"));
}

TEST(VerifyLayouts, SeeTokensThatAreCountedOnTheWrongGroup) {
  const VerifyReport report =
      verify_damaged({"token counts", [](at::Tensor& counts) { counts.div_(2, "floor"); }});
  EXPECT_FALSE(report.passed());
  EXPECT_THAT(report_page(report), HasSubstr("4x2: loss differs by"));
}

TEST(VerifyLayouts, SeeNumbersThatAreNone) {
  const VerifyReport report =
      verify_damaged({"losses", [](at::Tensor& losses) {
                        losses.fill_(std::numeric_limits<double>::quiet_NaN());
                      }});
  EXPECT_FALSE(report.passed());
  EXPECT_THAT(report_page(report), HasSubstr("max relative difference nan"));
}

// ---------------------------------------------------------------- what is refused

std::string refusal(const config::Config& config, const char* layouts) {
  try {
    (void)verify_layouts(config, {.layouts = parse_layouts(layouts), .steps = 1});
  } catch (const UsageError& error) {
    return std::string(error.what()) + " / " + error.hint();
  }
  return {};
}

TEST(VerifyLayouts, RefuseWhatDoesNotFitBeforeAnyWork) {
  const config::Config config = config_of("top_k");
  EXPECT_THAT(refusal(config, "2x1,16x1"),
              AllOf(HasSubstr("layout 16x1"), HasSubstr("micro-batch of 8"),
                    HasSubstr("train.micro_batch_size=16 train.global_batch_size=16")));
  EXPECT_THAT(refusal(config, "4x3"), AllOf(HasSubstr("layout 4x3"), HasSubstr("1, 2, 4")));
  EXPECT_THAT(refusal(config, "8x8"), AllOf(HasSubstr("layout 8x8"), HasSubstr("num_experts (4)")));
  EXPECT_THAT(refusal(config_of("top_k", "bf16"), "2x1"), HasSubstr("fp64 or fp32"));
  config::Config on_gpu = config;
  on_gpu.train.device = "cuda";
  EXPECT_THAT(refusal(on_gpu, "2x1"), HasSubstr("train.device=cpu"));
}

TEST(VerifyLayouts, AnEncodersRandomTokensNeedARowBesideThoseOfTheSpecialOnes) {
  config::Config config = config_of("top_k");
  config.model.type = "encoder";
  for (const std::int64_t too_small : {1, 2, 3}) {
    config.model.vocab_size = too_small;
    EXPECT_THAT(refusal(config, "2x1"),
                AllOf(HasSubstr(fmt::format("model.vocab_size is {}", too_small)),
                      HasSubstr("model.vocab_size=4 is the least")));
  }
  config.model.vocab_size = 4;
  EXPECT_EQ(refusal(config, "2x1"), "");
}

// Of 24 TiB of weights no machine gets as far as the first.
TEST(VerifyLayouts, RefuseWhatNoMemoryHoldsBeforeAnyModelIsMade) {
  config::Config config = config_of("top_k");
  config.model.moe.layers = {1};
  config.model.hidden_size = 1 << 20;
  config.model.ffn_size = 1 << 20;
  EXPECT_THROW((void)verify_layouts(config, {.layouts = parse_layouts("2x1"), .steps = 1}),
               OutOfMemoryError);
}

}  // namespace
}  // namespace switchyard::verify
