// What `switchyard plan` computes and prints.
#include "switchyard/plan/plan.h"

#include "switchyard/plan/page.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <sstream>
#include <string>

#include "support/tiny_model.h"
#include "switchyard/config/load.h"
#include "switchyard/config/presets.h"
#include "switchyard/config/routers/attention_importance.h"
#include "switchyard/config/routers/top_k.h"
#include "switchyard/config/routers/top_p.h"

namespace switchyard::plan {
namespace {

namespace fs = std::filesystem;

using testing::tiny_config;

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

config::Config huang() {
  config::Config config;
  config.model = config::load_model_preset("huang-3.5b");
  config.data.path = "nowhere";
  config.data.sequence_length = 2048;
  config.run.dir = "runs/huang";
  config.train.steps = 1000;
  config.train.precision = "bf16";
  config.train.global_batch_size = 512;
  config.train.micro_batch_size = 4;
  return config;
}

std::vector<std::string> names(const std::vector<ExpertsPerToken>& all) {
  std::vector<std::string> result;
  for (const ExpertsPerToken& experts : all) result.push_back(experts.name);
  return result;
}

TEST(ExpertsPerToken, OfTopPLieBetweenOneAndAnUntrainedRouters) {
  const auto all = suppose_experts_per_token(huang().model, {});  // p 0.4 of 16
  EXPECT_THAT(names(all), ElementsAre("expected", "untrained", "worst case"));
  EXPECT_NEAR(all[0].mean, std::sqrt(7.0), 1e-12);
  EXPECT_EQ(all[1].mean, 7.0);
  EXPECT_EQ(all[2].mean, 16.0);
  EXPECT_THAT(all[1].k_L, Each(7.0));
}

TEST(ExpertsPerToken, OfTopPHeedItsLimitAndItsWarmUp) {
  config::ModelConfig model = huang().model;
  auto& options = model.moe.router.options.as<config::TopPOptions>();
  options.max_experts = 4;
  const auto limited = suppose_experts_per_token(model, {});
  EXPECT_THAT(names(limited), ElementsAre("expected", "untrained"));  // which is the worst case too
  EXPECT_EQ(limited[0].mean, 2.0);
  EXPECT_EQ(limited[1].mean, 4.0);
  options.max_experts.reset();
  options.p_warmup = config::PWarmup{.from = 0.75, .steps = 100};
  EXPECT_EQ(suppose_experts_per_token(model, {})[1].mean, 12.0);
  // Exactly half of the experts, whatever 0.5 * 16 rounds to; and all of them.
  model.moe.router = config::RouterConfig(config::TopPOptions{.p = 0.5});
  EXPECT_EQ(suppose_experts_per_token(model, {})[1].mean, 8.0);
  model.moe.router = config::RouterConfig(config::TopPOptions{.p = 1.0});
  const auto whole = suppose_experts_per_token(model, {});
  EXPECT_THAT(names(whole), ElementsAre("expected"));
  EXPECT_EQ(whole[0].mean, 16.0);
}

// From normally distributed logits of deviation 1 a token gets 2.5 of 16 and 7.5 of 64 experts in
// the mean; from equal ones it would get 7 and 26.
TEST(ExpertsPerToken, OfTopPThatStandardisesLogitsBeginWithFewer) {
  config::ModelConfig model = huang().model;
  model.moe.router = config::RouterConfig(config::TopPOptions{.p = 0.4, .normalize_logits = true});
  EXPECT_EQ(suppose_experts_per_token(model, {})[1].mean, 2.0);
  EXPECT_THAT(suppose_experts_per_token(model, {})[1].reason, HasSubstr("standardised logits"));
  model.moe.num_experts = 64;
  EXPECT_EQ(suppose_experts_per_token(model, {})[1].mean, 8.0);
  model.moe.router.options.as<config::TopPOptions>().p = 1.0;
  EXPECT_EQ(suppose_experts_per_token(model, {})[0].mean, 64.0);
}

TEST(ExpertsPerToken, OfOtherRoutersAreTheirOptions) {
  config::ModelConfig model = huang().model;
  model.moe.router = config::RouterConfig(config::TopKOptions{.k = 3});
  const auto top_k = suppose_experts_per_token(model, {});
  EXPECT_THAT(names(top_k), ElementsAre("expected"));
  EXPECT_EQ(top_k[0].mean, 3.0);
  model.moe.router =
      config::RouterConfig(config::AttentionImportanceOptions{.k_mean = 2.5, .k_max = 5});
  const auto importance = suppose_experts_per_token(model, {});
  EXPECT_THAT(names(importance), ElementsAre("expected", "worst case"));
  EXPECT_EQ(importance[0].mean, 2.5);
  EXPECT_EQ(importance[1].mean, 5.0);
  model.moe.router = config::RouterConfig("relu");  // begins with up to all of the 16
  const auto relu = suppose_experts_per_token(model, {});
  EXPECT_THAT(names(relu), ElementsAre("expected", "untrained"));
  EXPECT_EQ(relu[0].mean, 2.0);
  EXPECT_EQ(relu[1].mean, 16.0);
  model.moe.router = config::RouterConfig("expert_threshold");
  const auto threshold = suppose_experts_per_token(model, {});
  EXPECT_EQ(threshold[0].mean, 2.0);
  EXPECT_EQ(threshold.back().mean, 16.0);
}

TEST(ExpertsPerToken, OfLayersWithTheirOwnRouterAreTheirs) {
  config::ModelConfig model = huang().model;
  model.num_layers = 4;
  model.moe.layers = {1, 3};
  model.moe.router = config::RouterConfig(config::TopKOptions{.k = 2});
  model.moe.router_of_layer[3] = config::RouterConfig(config::TopKOptions{.k = 5});
  const auto all = suppose_experts_per_token(model, {});
  EXPECT_THAT(all[0].k_L, ElementsAre(0.0, 2.0, 0.0, 5.0));
  EXPECT_EQ(all[0].mean, 3.5);
}

TEST(ExpertsPerToken, ThatAreGivenReplaceTheExpectation) {
  const config::ModelConfig model = huang().model;
  const auto all = suppose_experts_per_token(model, 1.75);
  EXPECT_THAT(names(all), ElementsAre("expected", "worst case"));
  EXPECT_EQ(all[0].mean, 1.75);
  EXPECT_THROW((void)suppose_experts_per_token(model, 17.0), UsageError);
  config::ModelConfig limited = model;
  limited.moe.router.options.as<config::TopPOptions>().max_experts = 4;
  EXPECT_THROW((void)suppose_experts_per_token(limited, 5.0), UsageError);
  config::ModelConfig dense = model;
  dense.moe.layers = {};
  dense.moe.num_experts = 0;
  EXPECT_THROW((void)suppose_experts_per_token(dense, 2.0), UsageError);
  EXPECT_TRUE(suppose_experts_per_token(dense, {}).empty());
}

TEST(Plan, CountsAsTheMeasuredUtilisationDoes) {
  const config::Config config = huang();
  const Plan plan = make_plan(config, {.experts_per_token = 2.0});
  EXPECT_EQ(plan.parameters.total, model::count_parameters(config.model).total);
  const double per_token = model::count_training_flops(config.model, 2048).per_token(2.0);
  EXPECT_EQ(plan.uses[0].flops_per_token, per_token);
  EXPECT_EQ(plan.uses[0].used_parameters, plan.parameters.activated(2.0));
  EXPECT_EQ(plan.tokens, 1000.0 * 512 * 2048);
  EXPECT_EQ(plan.checkpoint_bytes, 12.0 * static_cast<double>(plan.parameters.total));
  EXPECT_FALSE(plan.windows_per_epoch.has_value());
}

TEST(Plan, AnEncodersHeadIsCountedForTheTokensThatItGuesses) {
  config::Config config = huang();
  config.model.type = "encoder";
  config.data.mask_rate = 0.25;
  const Plan plan = make_plan(config, {.experts_per_token = 2.0});
  const double per_token = model::count_training_flops(config.model, 2048, 0.25).per_token(2.0);
  EXPECT_EQ(plan.uses[0].flops_per_token, per_token);
}

TEST(Plan, ACopyForASaveBesideTrainingTakesTheHostsMemory) {
  config::Config config = huang();
  const Plan plain = make_plan(config, {.fits_bytes = 200e9});
  config.train.async_save = true;
  const Plan copying = make_plan(config, {.fits_bytes = 200e9});
  const auto on = [](const Plan& plan, Device device) { return plan.uses[0].on(device, false); };
  EXPECT_EQ(on(copying, Device::cpu).total, on(plain, Device::cpu).total + plain.checkpoint_bytes);
  EXPECT_LT(on(copying, Device::cpu).fitting->largest, on(plain, Device::cpu).fitting->largest);
  EXPECT_EQ(on(copying, Device::gpu).total, on(plain, Device::gpu).total);
  EXPECT_THAT(plan_page(copying), HasSubstr("copy for train.async_save"));
  EXPECT_THAT(plan_page(plain), Not(HasSubstr("async_save")));
}

TEST(Plan, TimeIsTokensOverThroughputOrFlopsOverTheShareOfThePeak) {
  config::Config config = huang();
  EXPECT_FALSE(make_plan(config, {}).uses[0].seconds.has_value());
  const Plan given = make_plan(config, {.tokens_per_second = 1e6});
  EXPECT_DOUBLE_EQ(given.uses[0].seconds.value(), given.tokens / 1e6);
  const PlanOptions measured{.peak_flops = 1e12, .flop_use = 0.25};
  const Plan plan = make_plan(config, measured);
  const PlannedUse& use = plan.uses[0];
  EXPECT_DOUBLE_EQ(use.seconds.value(), plan.tokens * use.flops_per_token / 0.25e12);
  EXPECT_GT(plan.uses.back().seconds.value(), use.seconds.value());  // more experts take longer
  config.train.recompute = true;
  EXPECT_DOUBLE_EQ(make_plan(config, measured).uses[0].seconds.value(), *use.seconds * 4 / 3);
}

TEST(Plan, UsableMicroBatchesFitAndDivideTheGlobalBatch) {
  config::Config config = huang();
  config.train.global_batch_size = 60;
  constexpr double kBytes = 141e9;
  const Plan plan = make_plan(config, {.fits_bytes = kBytes});
  const TrainingMemory memory(plan.config, 1);
  int num_limited = 0;
  for (const PlannedUse& use : plan.uses) {
    for (const bool recompute : {false, true}) {
      const Fitting fitting = use.on(Device::gpu, recompute).fitting.value();
      const auto needs = [&](std::int64_t size) {
        return memory.state().total() + memory
                                            .use({.micro_batch_size = size,
                                                  .recompute = recompute,
                                                  .device = Device::gpu,
                                                  .experts_per_token_L = use.experts.k_L})
                                            .total();
      };
      ASSERT_GT(fitting.largest, 0);
      EXPECT_LE(needs(fitting.largest), kBytes);
      if (fitting.largest < 60) {
        EXPECT_GT(needs(fitting.largest + 1), kBytes);
        ++num_limited;
      }
      EXPECT_EQ(60 % fitting.usable, 0);
      for (std::int64_t size = fitting.usable + 1; size <= fitting.largest; ++size) {
        EXPECT_NE(60 % size, 0);
      }
    }
  }
  EXPECT_GT(num_limited, 2);
  EXPECT_EQ(make_plan(config, {.fits_bytes = 1e9}).uses[0].on(Device::cpu, true).fitting->usable,
            0);
}

TEST(Plan, TheProgramTakesItsShareOfACpusMemoryAndNoneOfAGpus) {
  constexpr double kProgram = 5e8;
  constexpr double kBytes = 141e9;
  const Plan without = make_plan(huang(), {.fits_bytes = kBytes});
  const Plan with =
      make_plan(huang(), {.fits_bytes = kBytes + kProgram, .program_bytes = kProgram});
  for (const bool recompute : {false, true}) {
    const PlannedUse& use = without.uses[0];
    const PlannedUse& more = with.uses[0];
    EXPECT_EQ(use.on(Device::gpu, recompute).total, more.on(Device::gpu, recompute).total);
    EXPECT_EQ(use.on(Device::cpu, recompute).total + kProgram,
              more.on(Device::cpu, recompute).total);
    EXPECT_EQ(use.on(Device::cpu, recompute).fitting->largest,
              more.on(Device::cpu, recompute).fitting->largest);
  }
  EXPECT_THAT(plan_page(with), HasSubstr("this program (CPU)"));
}

TEST(Plan, WithoutDataNeedsAVocabularySize) {
  config::Config config = huang();
  config.model.vocab_size = 0;
  EXPECT_THROW((void)make_plan(config, {}), UsageError);
}

// As shipped: also at the start, when k is high, and if every token took all experts. An H100 of 80
// GB has 79.6 GiB, of which the CUDA context and fragments take some.
TEST(Plan, OfTheShippedHuangConfigFitsAGpuOf80Gigabytes) {
  const config::Config config =
      config::load(fs::path(SWITCHYARD_SOURCE_DIR) / "configs/huang-3.5b.yaml", {}).config;
  const Plan plan = make_plan(config, {});
  ASSERT_EQ(plan.uses.size(), 3U);
  for (const PlannedUse& use : plan.uses) {
    EXPECT_LT(use.on(Device::gpu, config.train.recompute).total, 76.0 * 0x1p30) << use.experts.name;
  }
}

TEST(PlanPage, SaysWhatARunNeedsWithinAHundredColumns) {
  for (const bool recompute : {false, true}) {
    config::Config config = huang();
    config.train.recompute = recompute;
    const std::string page =
        plan_page(make_plan(config, {.peak_flops = 5e11, .fits_bytes = 80.0 * 0x1p30}));
    for (const char* part :
         {"3.49B", "expected", "untrained", "worst case", "FLOPs, forward and backward",
          "weights, bf16", "masters, fp32", "moments, fp32", "activations, train.recompute=false",
          "activations, train.recompute=true", "at work (CPU, loop)", "= total (GPU, grouped_mm)",
          "micro-batch within 80G", "none", "the data is not prepared yet", "30 % (--mfu)"}) {
      EXPECT_THAT(page, HasSubstr(part)) << page;
    }
    std::istringstream lines(page);
    for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 100U) << line;
  }
}

TEST(PlanPage, NamesSharedExpertsAmongWhatEveryTokenUses) {
  config::Config config = huang();
  const std::string shared = "dense MLPs, shared experts";
  EXPECT_THAT(plan_page(make_plan(config, {})), Not(HasSubstr(shared)));
  config.model.moe.shared_expert_size = 2816;
  const std::string page = plan_page(make_plan(config, {}));
  EXPECT_THAT(page, HasSubstr(shared));
  std::istringstream lines(page);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 100U) << line;
}

// Wherever the plan is made: the machine it is for has the GPU.
TEST(PlanPage, OfCutlassExpertsNeedsNoGpu) {
  config::Config config = huang();
  config.train.device = "cuda";
  config.model.moe.compute = "cutlass";
  const std::string page = plan_page(make_plan(config, {}));
  EXPECT_THAT(page, HasSubstr("= total (GPU, cutlass)"));
  EXPECT_THAT(page, HasSubstr("at work (CPU, loop)"));
}

TEST(PlanPage, OfADenseModelHasNoWordOnExperts) {
  config::Config config = tiny_config();
  config.model.moe.num_experts = 0;
  config.model.moe.layers = {};
  const std::string page = plan_page(make_plan(config, {.tokens_per_second = 1000.0}));
  EXPECT_THAT(page, Not(HasSubstr("expert")));
  EXPECT_THAT(page, Not(HasSubstr("masters")));
  EXPECT_THAT(page, HasSubstr("at 1k tokens/s"));
}

TEST(PlanPage, SaysThatRanksThatShareExpertsHoldLess) {
  config::Config config = huang();
  EXPECT_THAT(plan_page(make_plan(config, {})), Not(HasSubstr("--layout")));
  config.parallel.expert = 4;
  const std::string page = plan_page(make_plan(config, {}));
  EXPECT_THAT(page, HasSubstr("--layout RANKSx4"));
  std::istringstream lines(page);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 100U) << line;
}

}  // namespace
}  // namespace switchyard::plan
