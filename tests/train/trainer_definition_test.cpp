// What a training step is of: the labels, elements and steps that its numbers mean.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

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

}  // namespace
}  // namespace switchyard::train
