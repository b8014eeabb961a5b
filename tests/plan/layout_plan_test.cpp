// What one rank of a layout holds and sends, against sums by hand.
#include "switchyard/plan/layout_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "support/temporary_folder.h"
#include "switchyard/config/routers/top_k.h"
#include "switchyard/core/error.h"

namespace switchyard::plan {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::ThrowsMessage;

// One layer of 8 experts: 2 experts a token, whatever happens.
config::Config small() {
  config::Config config;
  config.model.vocab_size = 1000;
  config.model.hidden_size = 64;
  config.model.num_layers = 2;
  config.model.num_heads = 4;
  config.model.num_kv_heads = 4;
  config.model.head_dim = 16;
  config.model.moe.num_experts = 8;
  config.model.moe.expert_size = 96;
  config.model.moe.layers = {1};
  config.model.moe.router = config::RouterConfig(config::TopKOptions{.k = 2});
  config.data.path = "nowhere";
  config.data.sequence_length = 128;
  config.train.precision = "bf16";
  config.train.steps = 10;
  config.train.global_batch_size = 64;
  config.train.micro_batch_size = 2;
  return config;
}
constexpr double kExperts = 8.0 * 3.0 * 64.0 * 96.0;  // parameters
constexpr double kTokens = 64.0 * 128.0;              // of a step

LayoutPlan plan_of(const config::Config& config, const config::Layout& layout,
                   LayoutOptions options = {}) {
  options.layouts = {layout};
  return plan_layouts(make_plan(config, {}), options).at(0);
}

TEST(LayoutPlan, OneRankHoldsWhatAProcessHoldsAndSendsNothing) {
  const Plan plan = make_plan(small(), {});
  const LayoutUse use = plan_of(small(), {1, 1}).uses.at(0);
  EXPECT_EQ(use.state_bytes, plan.state.total());
  EXPECT_EQ(use.step_bytes, plan.uses[0].on(Device::gpu, false).memory.total());
  EXPECT_EQ(use.exchange_bytes, 0.0);
  EXPECT_EQ(use.gradients_sent, 0.0);
  EXPECT_EQ(use.rows_sent, 0.0);
  EXPECT_EQ(plan.experts_state.gradients, 4.0 * kExperts);
}

// Weights (2 bytes), masters (4) and sums (4) of everything but others' experts; moments (8) of an
// eighth; own sums.
TEST(LayoutPlan, StateIsSharedOut) {
  const Plan plan = make_plan(small(), {});
  const auto dense = static_cast<double>(plan.parameters.total) - kExperts;
  const auto state = [](const config::Config& config, config::Layout layout) {
    return plan_of(config, layout).uses.at(0).state_bytes;
  };
  // Routers keep the accumulation type: they have no weights beside the masters.
  const double weights = plan.state.weights + plan.state.masters - plan.experts_state.weights -
                         plan.experts_state.masters;
  config::Config whole = small();
  whole.parallel.shard_optimizer = false;
  EXPECT_DOUBLE_EQ(state(whole, {8, 4}), weights + 12.0 * dense + (6.0 + 12.0) * kExperts / 4.0);
  EXPECT_DOUBLE_EQ(state(small(), {8, 4}), weights + 4.0 * dense + (6.0 + 4.0) * kExperts / 4.0 +
                                               8.0 * (dense + kExperts) / 8.0 +
                                               4.0 * (dense + kExperts) / 8.0);
  EXPECT_DOUBLE_EQ(state(small(), {8, 8}), weights + 4.0 * dense + (6.0 + 4.0) * kExperts / 8.0 +
                                               8.0 * (dense + kExperts) / 8.0 + 4.0 * dense / 8.0)
      << "what one rank alone holds is summed in place";
}

TEST(LayoutPlan, BytesSentAreThoseOfTheCollectives) {
  const Plan plan = make_plan(small(), {});
  const auto dense = static_cast<double>(plan.parameters.total) - kExperts;
  const LayoutUse use = plan_of(small(), {8, 4}).uses.at(0);
  EXPECT_DOUBLE_EQ(use.gradients_sent,
                   2.0 * 4.0 * (dense * 7.0 / 8.0 + kExperts / 4.0 * 1.0 / 2.0));
  // Of 2 rows a token 3 of 4 go away: 64 elements of 2 bytes out, home, out, home; 4 bytes of
  // weight there and of its gradient back.
  const double rows = kTokens / 8.0 * 2.0 * 3.0 / 4.0;
  EXPECT_DOUBLE_EQ(use.rows_sent, rows * (4.0 * 128.0 + 2.0 * 4.0));
  config::Config recomputed = small();
  recomputed.train.recompute = true;
  EXPECT_DOUBLE_EQ(plan_of(recomputed, {8, 4}).uses.at(0).rows_sent,
                   rows * (6.0 * 128.0 + 3.0 * 4.0))
      << "the forward pass twice";
  EXPECT_EQ(plan_of(small(), {8, 1}).uses.at(0).rows_sent, 0.0);
}

TEST(LayoutPlan, TimeIsBytesOverTheSlowestLinkOnTheWay) {
  const LayoutOptions options{
      .links = {.ranks_per_node = 4, .in_node = 100.0, .between_nodes = 10.0}};
  const LayoutUse one_node = plan_of(small(), {4, 4}, options).uses.at(0);
  EXPECT_DOUBLE_EQ(one_node.gradient_seconds, one_node.gradients_sent / 100.0);
  EXPECT_DOUBLE_EQ(one_node.row_seconds, one_node.rows_sent / 100.0);
  const LayoutUse two_nodes = plan_of(small(), {8, 4}, options).uses.at(0);
  EXPECT_DOUBLE_EQ(two_nodes.gradient_seconds, two_nodes.gradients_sent / 10.0);
  EXPECT_DOUBLE_EQ(two_nodes.row_seconds, two_nodes.rows_sent / 100.0) << "groups are of a node";
  const LayoutUse across = plan_of(small(), {8, 8}, options).uses.at(0);
  EXPECT_DOUBLE_EQ(across.row_seconds, across.rows_sent / 10.0);
  const Plan plan = make_plan(small(), {});
  EXPECT_DOUBLE_EQ(across.compute_seconds,
                   kTokens / 8.0 * plan.uses[0].flops_per_token / (989e12 * 0.3));
}

TEST(LayoutPlan, AnUnevenLoadMakesTheFullestRankWait) {
  const LayoutOptions options{.load_LE = {{4, 2, 1, 1, 0, 0, 0, 0}}};
  const LayoutPlan two = plan_of(small(), {8, 2}, options);
  EXPECT_DOUBLE_EQ(two.imbalance.mean, 2.0) << "all rows on the first of two";
  EXPECT_DOUBLE_EQ(plan_of(small(), {8, 4}, options).imbalance.worst, 6.0 / 8.0 * 4.0);
  const LayoutUse even = plan_of(small(), {8, 2}).uses.at(0);
  EXPECT_DOUBLE_EQ(two.uses.at(0).row_seconds, 2.0 * even.row_seconds);
  EXPECT_DOUBLE_EQ(two.uses.at(0).exchange_bytes, 2.0 * even.exchange_bytes);
  EXPECT_GT(two.uses.at(0).compute_seconds, even.compute_seconds);
  EXPECT_LT(two.uses.at(0).compute_seconds, 2.0 * even.compute_seconds) << "attention is even";
}

TEST(LayoutPlan, RefusesWhatDoesNotFit) {
  const auto refused = [](const config::Layout& layout, const std::string& part) {
    EXPECT_THAT([&] { (void)plan_of(small(), layout); },
                ThrowsMessage<UsageError>(HasSubstr(part)));
  };
  refused({8, 3}, "layout 8x3: 8 experts cannot be split over groups of 3");
  refused({6, 4}, "layout 6x4: ");
  refused({64, 1}, "layout 64x1: ");
  EXPECT_THAT(
      [] {
        (void)plan_of(small(), {2, 2}, {.load_LE = {{1, 1}}});
      },
      ThrowsMessage<UsageError>(HasSubstr("the run has 2 experts in a layer")));
}

TEST(SharesOfRun, AreThoseOfTheLastRecords) {
  const testing::TemporaryFolder run;
  std::ofstream file(run / "metrics.jsonl");
  file << R"({"step":0,"layers":[{"layer":1,"load":[100,0]}]})"
       << "\n";
  for (int i = 1; i <= 20; ++i) {
    file << R"({"step":)" << i << R"(,"layers":[{"layer":1,"load":[0.25,0.75]},{"layer":3}]})"
         << "\n";
    file << R"({"event":"evaluation","step":)" << i << R"(,"loss":1})"
         << "\n";
  }
  file.close();
  const auto load_LE = shares_of_run(run.path());
  ASSERT_EQ(load_LE.size(), 1U);
  EXPECT_THAT(load_LE[0], ElementsAre(5.0, 15.0));
}

TEST(SharesOfRun, SayWhatIsMissingOrWrong) {
  const testing::TemporaryFolder run;
  EXPECT_THAT([&] { (void)shares_of_run(run.path()); },
              ThrowsMessage<UsageError>(HasSubstr("holds no metrics.jsonl")));
  std::ofstream(run / "metrics.jsonl") << R"({"step":1,"layers":[]})"
                                       << "\n";
  EXPECT_THAT([&] { (void)shares_of_run(run.path()); },
              ThrowsMessage<UsageError>(HasSubstr("no record in")));
  std::ofstream(run / "metrics.jsonl") << R"({"step":1,"layers":3})"
                                       << "\n";
  EXPECT_THAT([&] { (void)shares_of_run(run.path()); },
              ThrowsMessage<UsageError>(HasSubstr("no record in")));
}

TEST(SharesOfRun, LeaveOutWhatIsTornDamagedOrTakenBack) {
  const testing::TemporaryFolder run;
  const auto share = [](int step, const char* load) {
    return fmt::format("{{\"step\":{},\"layers\":[{{\"layer\":1,\"load\":{}}}]}}\n", step, load);
  };
  const std::string torn = share(4, "[100,0]");
  std::ofstream(run / "metrics.jsonl")
      << share(1, "[0.25,0.75]") << share(2, "[\"x\"]") << share(3, "[100,0]")
      << "{\"event\":\"resume\",\"step\":1}\n"
      << share(2, "[0.5,0.5]") << torn.substr(0, torn.size() / 2);
  const auto load_LE = shares_of_run(run.path());
  ASSERT_EQ(load_LE.size(), 1U);
  EXPECT_THAT(load_LE[0], ElementsAre(0.75, 1.25));
}

TEST(LayoutPage, SaysWhatEachRankNeeds) {
  const Plan plan = make_plan(small(), {});
  const LayoutOptions options{.layouts = {{1, 1}, {8, 4}}};
  const std::string page = layout_page(plan, plan_layouts(plan, options), options);
  EXPECT_THAT(page, HasSubstr("layout 8x4, of each rank"));
  EXPECT_THAT(page, HasSubstr("sent in a step: rows"));
  EXPECT_THAT(page, HasSubstr("4 micro-steps of 2 sequences on each of 8 ranks"));
  EXPECT_THAT(page, HasSubstr("computed, not measured"));
  EXPECT_THAT(page, Not(HasSubstr("within")));
}

TEST(LayoutPage, SaysWhichLayoutFits) {
  const LayoutOptions options{.layouts = {{1, 1}, {8, 4}}};
  const Plan any = make_plan(small(), {});
  const std::vector<LayoutPlan> layouts = plan_layouts(any, options);
  const auto most = [](const LayoutPlan& layout) {
    double bytes = 0.0;
    for (const LayoutUse& use : layout.uses) bytes = std::max(bytes, use.memory_bytes());
    return bytes;
  };
  const double between = (most(layouts[0]) + most(layouts[1])) / 2.0;
  const Plan plan = make_plan(small(), {.fits_bytes = between});
  const std::string page = layout_page(plan, plan_layouts(plan, options), options);
  const std::size_t second = page.find("layout 8x4");
  const auto row = [&](std::size_t from) {
    const std::size_t begin = page.find("within", from);
    return page.substr(begin, page.find('\n', begin) - begin);
  };
  EXPECT_THAT(row(0), HasSubstr("no"));
  EXPECT_THAT(row(second), AllOf(HasSubstr("yes"), Not(HasSubstr("no"))));
}

}  // namespace
}  // namespace switchyard::plan
