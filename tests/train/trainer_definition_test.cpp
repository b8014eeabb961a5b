// What a training step is of: the labels, elements and steps that its numbers mean.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "switchyard/config/routers/expert_threshold.h"
#include "switchyard/config/routers/relu.h"
#include "switchyard/config/routers/top_p.h"
#include "switchyard/inference/batching.h"
#include "switchyard/train/trainer.h"
#include "train/tiny.h"

namespace switchyard::train {
namespace {

using telemetry::StepSums;

// Where a document ends without a separator, its last token predicts nothing.
TEST(Trainer, LossAndGradientAreThoseOfALabelNotOfAToken) {
  config::Config config = tiny_config("fp64");
  config.model.moe.num_experts = 0;
  config.model.moe.layers = {};
  config.optim.clip_norm = 0.0;
  const auto window = [](std::int64_t idx) {
    data::Sample sample = tiny_window(idx, 16);
    sample.document_start = {4, 8, 12};
    return sample;
  };
  const TinyRun run(config, comm::make_self_communicator(),
                    {.window = window, .attend_across_documents = false});
  const TinyRun by_hand(config);  // the same weights
  std::vector<data::Sample> windows;
  for (std::int64_t i = 0; i < 8; ++i) windows.push_back(window(i));
  const model::MicroBatch micro =
      inference::make_batch(windows, {.attend_across_documents = false});
  ASSERT_EQ(micro.num_labels, micro.num_tokens - 8 * 3);
  const model::TrunkOutput output = by_hand.decoder->forward(micro.batch, {.training = true});
  const at::Tensor loss = by_hand.decoder->head()
                              .loss_sum(output.hidden_TH, micro.batch.label_T)
                              .div(static_cast<double>(micro.num_labels));
  loss.backward();
  double square_sum = 0.0;
  for (ops::Parameter* parameter : by_hand.decoder->parameters()) {
    ops::collect_grad(*parameter);
    square_sum += parameter->grad.square().sum().item<double>();
  }
  const StepSums sums = run.trainer->train_step();
  EXPECT_NEAR(sums.lm_loss, loss.item<double>(), 1e-12);
  EXPECT_NEAR(sums.grad_norm, std::sqrt(square_sum), 1e-10);
}

TEST(Trainer, EveryStepDropsOtherElements) {
  config::Config config = tiny_config("fp64");
  config.optim.learning_rate = 0.0;
  for (const double rate : {0.0, 0.5}) {
    config.model.dropout = rate;
    const TinyRun run(config, comm::make_self_communicator(),
                      {.window = [](std::int64_t idx) { return tiny_window(idx % 8, 16); }});
    const std::vector<StepSums> steps = run.train(2);  // on the same windows
    EXPECT_EQ(steps[0].lm_loss == steps[1].lm_loss, rate == 0.0);
  }
}

TEST(Trainer, TellsRoutersTheStepThatWasMade) {
  config::Config config = tiny_config();
  config.model.moe.router = config::RouterConfig(
      config::TopPOptions{.p = 0.4, .p_warmup = config::PWarmup{.from = 1.0, .steps = 10}});
  const TinyRun run(config);
  (void)run.train(3);
  const double p = run.decoder->routers().at(1)->state().at("p").item<double>();
  EXPECT_NEAR(p, 1.0 - 0.6 * 3 / 10, 1e-6);
}

TEST(Trainer, TellsTheNormOfEachRoutersGradient) {
  config::Config config = tiny_config("fp64");
  config.model.moe.layers = {0, 1};
  config.optim.clip_norm = 0.0;
  const TinyRun run(config);
  const StepSums sums = run.trainer->train_step();
  ASSERT_EQ(sums.layers.size(), 2U);
  for (const telemetry::LayerSums& layer : sums.layers) {
    const ops::Parameter& weight = run.decoder->routers().at(layer.layer)->weight();
    EXPECT_GT(layer.router_grad_norm, 0.0);
    EXPECT_NEAR(layer.router_grad_norm, weight.grad.norm().item<double>(), 1e-12);
  }
  EXPECT_NE(sums.layers[0].router_grad_norm, sums.layers[1].router_grad_norm);
}

// A small step against the gradient takes the coefficient's share of the loss down.
TEST(Trainer, AddsTheL1LossThatARouterAsksFor) {
  config::Config config = tiny_config("fp64");
  config.model.moe.loss = {.load_balance = 0.0, .dynamic = 0.0};
  config.schedule.warmup_steps = 0;
  const auto weights_after_a_step = [&config](double l1_start) {
    config.model.moe.router = config::RouterConfig(config::ReluOptions{.l1_start = l1_start});
    const TinyRun run(config);
    const StepSums sums = run.trainer->train_step();
    EXPECT_GT(sums.layers[0].losses.l1, 0.0);
    EXPECT_NEAR(sums.layers[0].weighted_l1, l1_start / 2.0 * sums.layers[0].losses.l1, 1e-9);
    return run.decoder->routers().at(1)->weight().grad.clone();
  };
  const at::Tensor without = weights_after_a_step(1e-12);
  const at::Tensor with = weights_after_a_step(1.0);
  EXPECT_GT(with.sub(without).norm().item<double>(), 10.0 * without.norm().item<double>());
}

double mean_experts_of_last(const config::RouterConfig& router, std::int64_t num_steps) {
  config::Config config = tiny_config();
  config.model.moe.num_experts = 8;
  config.model.moe.loss = {.load_balance = 0.0};
  config.model.moe.router = router;
  config.train.steps = num_steps;
  const TinyRun run(config);
  const std::vector<StepSums> steps = run.train(num_steps);
  double mean = 0.0;
  for (std::size_t i = steps.size() - 50; i < steps.size(); ++i) {
    mean += telemetry::experts_per_token(steps[i]) / 50.0;
  }
  return mean;
}

TEST(Trainer, RoutersWithABudgetComeToIt) {
  EXPECT_NEAR(
      mean_experts_of_last(config::RouterConfig(config::ReluOptions{.l1_start = 1e-4}), 300), 2.0,
      0.2);
  const config::ExpertThresholdOptions thresholds{.threshold_decay = 0.9, .threshold_warmup = 20};
  EXPECT_NEAR(mean_experts_of_last(config::RouterConfig(thresholds), 150), 2.0, 0.2);
}

}  // namespace
}  // namespace switchyard::train
