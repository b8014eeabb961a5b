#include "switchyard/train/trainer.h"

#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>

#include "switchyard/config/routers/top_p.h"
#include "switchyard/core/error.h"
#include "switchyard/inference/batching.h"
#include "train/tiny.h"

namespace switchyard::train {
namespace {

using telemetry::StepSums;

double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  return a.sub(b).abs().max().item<double>();
}

class TrainerPrecision : public ::testing::TestWithParam<const char*> {};

TEST_P(TrainerPrecision, LearnsThePatternOfTheData) {
  const TinyRun run(tiny_config(GetParam()));
  const std::vector<StepSums> steps = run.train(60);
  EXPECT_NEAR(steps.front().lm_loss, std::log(kTinyVocab), 0.2);
  EXPECT_LT(steps.back().lm_loss, 0.5 * steps.front().lm_loss);
  for (const StepSums& sums : steps) EXPECT_FALSE(sums.skipped);
}

INSTANTIATE_TEST_SUITE_P(All, TrainerPrecision, ::testing::Values("fp32", "bf16", "fp64"),
                         [](const auto& instance) { return std::string(instance.param); });

TEST(Trainer, RepeatsARunBitForBit) {
  config::Config config = tiny_config();
  config.model.dropout = 0.1;
  const TinyRun first(config);
  const TinyRun second(config);
  const std::vector<StepSums> one = first.train(5);
  const std::vector<StepSums> two = second.train(5);
  for (std::size_t i = 0; i < one.size(); ++i) {
    EXPECT_EQ(one[i].lm_loss, two[i].lm_loss) << std::hexfloat << one[i].lm_loss;
    EXPECT_EQ(one[i].grad_norm, two[i].grad_norm);
  }
  const auto a = first.weights();
  const auto b = second.weights();
  for (std::size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(at::equal(a[i], b[i]));
}

class TrainerRecompute : public ::testing::TestWithParam<const char*> {};

TEST_P(TrainerRecompute, TrainsToTheSameBits) {
  for (const char* router : {"top_p", "top_k", "attention_importance"}) {
    SCOPED_TRACE(router);
    config::Config config = tiny_config(GetParam());
    config.model.dropout = 0.1;
    config.model.moe.layers = {0, 1};
    config.model.moe.router = config::RouterConfig(router);
    config.model.moe.loss.z = 1e-3;
    config.train.micro_batch_size = 2;
    const TinyRun plain(config);
    config.train.recompute = true;
    const TinyRun recomputed(config);
    for (int step = 0; step < 4; ++step) {
      const StepSums a = plain.trainer->train_step();
      const StepSums b = recomputed.trainer->train_step();
      EXPECT_EQ(objective_of(a, config.model.moe.loss), objective_of(b, config.model.moe.loss));
      EXPECT_EQ(a.grad_norm, b.grad_norm);
      for (std::size_t i = 0; i < a.layers.size(); ++i) {
        EXPECT_EQ(a.layers[i].count_E, b.layers[i].count_E);
        EXPECT_EQ(a.layers[i].k_histogram_E1, b.layers[i].k_histogram_E1);
        EXPECT_EQ(a.layers[i].entropy_sum, b.layers[i].entropy_sum);
      }
    }
    const auto a = plain.weights();
    const auto b = recomputed.weights();
    for (std::size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(at::equal(a[i], b[i]));
    for (const auto& [layer, of_layer] : plain.decoder->routers()) {
      for (const auto& [name, value] : of_layer->state()) {
        EXPECT_TRUE(at::equal(value, recomputed.decoder->routers().at(layer)->state().at(name)));
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, TrainerRecompute, ::testing::Values("fp32", "bf16"),
                         [](const auto& instance) { return std::string(instance.param); });

TEST(Trainer, ClipsTheGradientThatTheOptimizerGets) {
  config::Config config = tiny_config("fp64");
  config.optim.clip_norm = 0.01;
  const TinyRun run(config);
  const StepSums sums = run.trainer->train_step();
  ASSERT_GT(sums.grad_norm, config.optim.clip_norm);
  double square_sum = 0.0;
  for (const optim::AdamW::Moments& moments : run.trainer->optimizer().moments()) {
    square_sum += moments.first.square().sum().item<double>();
  }
  // The first moments after one step are its gradient, scaled.
  EXPECT_NEAR(std::sqrt(square_sum), (1.0 - config.optim.betas[0]) * config.optim.clip_norm, 1e-9);
}

// With losses that do not depend on how a step is cut, cutting must change nothing but rounding.
TEST(Trainer, AccumulatedMicroBatchesEqualOneBatch) {
  config::Config config = tiny_config("fp64");
  config.model.dropout = 0.1;
  config.model.moe.loss.scope = "sequence";
  config.model.moe.loss.load_balance = 0.1;
  config.model.moe.loss.dynamic = 0.01;
  config.model.moe.loss.z = 0.01;
  const TinyRun whole(config);
  config.train.micro_batch_size = 2;
  const TinyRun cut(config);
  for (int step = 0; step < 3; ++step) {
    const StepSums a = whole.trainer->train_step();
    const StepSums b = cut.trainer->train_step();
    EXPECT_NEAR(a.lm_loss, b.lm_loss, 1e-10);
    EXPECT_NEAR(a.grad_norm, b.grad_norm, 1e-10);
    ASSERT_EQ(a.layers.size(), 1U);
    EXPECT_EQ(a.layers[0].count_E, b.layers[0].count_E);
    EXPECT_EQ(a.layers[0].k_histogram_E1, b.layers[0].k_histogram_E1);
    EXPECT_NEAR(a.layers[0].losses.load_balance, b.layers[0].losses.load_balance, 1e-10);
    EXPECT_NEAR(a.layers[0].losses.dynamic, b.layers[0].losses.dynamic, 1e-10);
    EXPECT_NEAR(a.layers[0].losses.z, b.layers[0].losses.z, 1e-10);
  }
  const auto a = whole.weights();
  const auto b = cut.weights();
  for (std::size_t i = 0; i < a.size(); ++i) EXPECT_LT(largest_difference(a[i], b[i]), 1e-10);
}

// All experts of every token (p = 1), so that the routing's row weights are the router's whole
// distribution and every loss can be added up from it in plain loops.
TEST(Trainer, RouterLossesAreThoseOfABruteForceSum) {
  config::Config config = tiny_config("fp64");
  config.model.moe.router = config::RouterConfig(config::TopPOptions{.p = 1.0});
  config.train.micro_batch_size = 4;
  const std::int64_t num_experts = config.model.moe.num_experts;
  const TinyRun run(config);
  const std::int64_t tokens_of_step = 8 * config.data.sequence_length;
  double load_balance = 0.0;
  double dynamic = 0.0;
  double nats = 0.0;
  for (std::int64_t first = 0; first < 8; first += 4) {  // the micro-steps of step 1
    std::vector<data::Sample> windows;
    for (std::int64_t i = first; i < first + 4; ++i) windows.push_back(tiny_window(i, 16));
    const model::MicroBatch micro = inference::make_batch(windows, {});
    const model::TrunkOutput output = run.decoder->forward(micro.batch, {.training = true});
    nats += run.decoder->head()
                .loss_per_token(output.hidden_TH, micro.batch.label_T)
                .sum()
                .item<double>();
    ASSERT_EQ(output.routes.size(), 1U);
    const ops::Routing& routing = output.routes[0].routing;
    const at::Tensor weight = routing.row_weight_N.detach().contiguous();
    const double* prob = weight.const_data_ptr<double>();
    const auto* offset = routing.expert_offset_E1.const_data_ptr<std::int32_t>();
    double sum_of_products = 0.0;
    for (std::int64_t e = 0; e < num_experts; ++e) {
      double prob_sum = 0.0;
      for (std::int32_t row = offset[e]; row < offset[e + 1]; ++row) {
        prob_sum += prob[row];
        dynamic -= prob[row] * std::log(prob[row]) / static_cast<double>(tokens_of_step);
      }
      const auto num_tokens = static_cast<double>(micro.num_tokens);
      const double f = (offset[e + 1] - offset[e]) / num_tokens;  // normalize: tokens
      sum_of_products += f * prob_sum / num_tokens;
    }
    load_balance += 0.5 * static_cast<double>(num_experts) * sum_of_products;
  }
  const StepSums sums = run.trainer->train_step();
  EXPECT_NEAR(sums.lm_loss, nats / static_cast<double>(tokens_of_step), 1e-12);
  EXPECT_NEAR(sums.layers[0].losses.load_balance, load_balance, 1e-12);
  EXPECT_NEAR(sums.layers[0].losses.dynamic, dynamic, 1e-12);
  EXPECT_EQ(sums.layers[0].num_tokens, tokens_of_step);
}

// The gradient must be that of the sum of the reported parts: coefficient times loss of every MoE
// layer, over all micro-batches.
TEST(Trainer, GradientIsThatOfTheReportedObjective) {
  config::Config config = tiny_config("fp64");
  config.model.moe.layers = {0, 1};
  config.model.moe.loss.load_balance = 0.5;
  config.model.moe.loss.dynamic = 0.3;
  config.model.moe.loss.z = 0.2;
  config.model.init_std = 0.3;  // away from uniform routing
  config.optim.learning_rate = 0.0;
  config.optim.weight_decay = 0.0;
  config.optim.clip_norm = 0.0;
  config.train.global_batch_size = 2;
  config.train.micro_batch_size = 1;
  const auto objective_with = [&config](std::size_t parameter, std::int64_t element,
                                        double change) {
    const TinyRun run(config);
    ops::Parameter& changed = *run.decoder->parameters()[parameter];
    changed.master.detach().view({-1}).narrow(0, element, 1).add_(change);
    ops::publish(changed);
    return objective_of(run.trainer->train_step(), config.model.moe.loss);
  };
  const TinyRun run(config);
  (void)run.trainer->train_step();
  const auto parameters = run.decoder->parameters();
  constexpr double kStep = 1e-6;
  for (std::size_t p = 0; p < parameters.size(); ++p) {
    const std::int64_t element = parameters[p]->numel() / 3;
    const double expected =
        (objective_with(p, element, kStep) - objective_with(p, element, -kStep)) / (2.0 * kStep);
    const double actual = parameters[p]->grad.reshape({-1})[element].item<double>();
    EXPECT_NEAR(actual, expected, 1e-6 + 1e-5 * std::abs(expected)) << parameters[p]->name;
  }
}

TEST(Trainer, SkippedStepUsesItsNumberAndChangesNothingElse) {
  config::Config config = tiny_config("bf16");
  config.model.moe.router = config::RouterConfig("attention_importance");  // has state
  const TinyRun run(config);
  (void)run.train(3);
  const auto weights = run.weights();
  const auto moments = run.trainer->optimizer().moments();
  std::vector<at::Tensor> first_moments;
  for (const auto& moment : moments) first_moments.push_back(moment.first.clone());
  const auto state = run.decoder->routers().at(1)->state();
  ASSERT_FALSE(state.empty());
  std::map<std::string, at::Tensor> state_before;
  for (const auto& [name, tensor] : state) state_before[name] = tensor.clone();

  // The forward value, not the master: the next publish() heals it.
  ops::Parameter& poisoned = *run.decoder->parameters().front();
  poisoned.value.detach().fill_(std::numeric_limits<double>::quiet_NaN());
  const StepSums bad = run.trainer->train_step();
  EXPECT_TRUE(bad.skipped);
  EXPECT_EQ(bad.step, 4);
  EXPECT_EQ(run.trainer->num_skipped_in_a_row(), 1);
  EXPECT_EQ(run.trainer->optimizer().num_updates(), 3);
  EXPECT_EQ(run.trainer->state().num_updates, 3);
  EXPECT_EQ(run.trainer->state().step, 4);
  EXPECT_EQ(run.trainer->state().next_window, 32);
  const auto after = run.weights();
  for (std::size_t i = 0; i < weights.size(); ++i) {
    EXPECT_TRUE(at::equal(after[i], weights[i]));
    EXPECT_TRUE(at::equal(run.trainer->optimizer().moments()[i].first, first_moments[i]));
  }
  for (const auto& [name, tensor] : run.decoder->routers().at(1)->state()) {
    EXPECT_TRUE(at::equal(tensor, state_before.at(name))) << name;
  }

  ops::publish(poisoned);
  const StepSums good = run.trainer->train_step();
  EXPECT_FALSE(good.skipped);
  EXPECT_EQ(good.step, 5);
  EXPECT_EQ(run.trainer->num_skipped_in_a_row(), 0);
  EXPECT_EQ(run.trainer->optimizer().num_updates(), 4);
}

// A parameter whose gradient autograd hands over as a tensor.
ops::Parameter& a_norm_of(model::Decoder& decoder) {
  for (ops::Parameter* parameter : decoder.parameters()) {
    if (parameter->name.find("input_norm") != std::string::npos) return *parameter;
  }
  throw InternalError("the model has no norm");
}

TEST(Trainer, AFiniteLossWithAnInfiniteGradientIsSkippedToo) {
  const TinyRun run(tiny_config());
  (void)run.train(2);
  const auto weights = run.weights();
  ops::Parameter& parameter = a_norm_of(*run.decoder);
  const unsigned hook = parameter.value.register_hook([](const at::Tensor& grad) {
    at::Tensor poisoned = grad.clone();
    poisoned.view({-1})[0].fill_(std::numeric_limits<double>::infinity());
    return poisoned;
  });
  const StepSums bad = run.trainer->train_step();
  parameter.value.remove_hook(hook);
  EXPECT_TRUE(std::isfinite(bad.lm_loss));
  EXPECT_TRUE(bad.skipped);
  const auto after = run.weights();
  for (std::size_t i = 0; i < weights.size(); ++i) EXPECT_TRUE(at::equal(after[i], weights[i]));
  EXPECT_FALSE(run.trainer->train_step().skipped);
}

TEST(Trainer, ANaNInTheGradientOfOneExpertIsSkipped) {
  const TinyRun run(tiny_config());
  (void)run.train(2);
  const auto weights = run.weights();
  const auto parameters = run.decoder->parameters();
  ops::Parameter& expert = **std::find_if(parameters.begin(), parameters.end(),
                                          [](const auto* each) { return each->is_expert; });
  // Any point of the backward pass will do: experts add to their buffer in place.
  ops::Parameter& norm = a_norm_of(*run.decoder);
  const unsigned hook = norm.value.register_hook([&expert](const at::Tensor& grad) {
    expert.grad[2].fill_(std::numeric_limits<double>::quiet_NaN());
    return grad;
  });
  const StepSums bad = run.trainer->train_step();
  norm.value.remove_hook(hook);
  EXPECT_TRUE(std::isfinite(bad.lm_loss));
  EXPECT_TRUE(bad.skipped);
  const auto after = run.weights();
  for (std::size_t i = 0; i < weights.size(); ++i) EXPECT_TRUE(at::equal(after[i], weights[i]));
  EXPECT_FALSE(run.trainer->train_step().skipped);
}

TEST(Trainer, StepTakesItsOwnWindowsOfTheData) {
  config::Config config = tiny_config();
  config.train.global_batch_size = 4;
  config.train.micro_batch_size = 2;
  std::vector<std::int64_t> asked;
  const TinyRun parts(config);
  NextTokenObjective objective(*parts.decoder, {.window = [&asked](std::int64_t idx) {
    asked.push_back(idx);
    return tiny_window(idx, 16);
  }});
  Trainer trainer(config, *parts.decoder, objective, *parts.groups);
  (void)trainer.train_step();
  (void)trainer.train_step();
  std::vector<std::int64_t> expected(8);
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(asked, expected);
}

TEST(Trainer, TimesEveryPhase) {
  const TinyRun run(tiny_config());
  (void)run.train(1);
  for (const char* phase : {"fetch", "forward", "backward", "reduce_gradients", "clip", "update"}) {
    EXPECT_TRUE(run.trainer->phases().spans().contains(phase)) << phase;
  }
}

TEST(Trainer, DenseModelTrainsWithoutRouters) {
  config::Config config = tiny_config();
  config.model.moe.num_experts = 0;
  config.model.moe.layers = {};
  const TinyRun run(config);
  const std::vector<StepSums> steps = run.train(10);
  EXPECT_TRUE(steps.front().layers.empty());
  EXPECT_LT(steps.back().lm_loss, steps.front().lm_loss);
}

TEST(Trainer, RefusesABatchThatCannotBeCut) {
  config::Config config = tiny_config();
  config.train.micro_batch_size = 3;
  EXPECT_THROW(TinyRun run(config), UsageError);
}

}  // namespace
}  // namespace switchyard::train
