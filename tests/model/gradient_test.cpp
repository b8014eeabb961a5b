// The gradient of the whole decoder, through the parameters' buffers, against differences.
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "model/decoder_fixture.h"
#include "switchyard/core/hash.h"

namespace switchyard::model {
namespace {

// Three elements of each parameter, chosen by its name (expert matrices: of each expert).
void expect_decoder_gradients(const config::ModelConfig& config, const ForwardContext& context) {
  const auto decoder = make_decoder(config);
  const Batch batch = make_batch({random_tokens(7, 1), random_tokens(12, 2)});
  (void)loss_and_gradients(*decoder, batch, context);
  std::vector<at::Tensor> grads;
  for (const ops::Parameter* parameter : decoder->parameters()) {
    grads.push_back(parameter->grad.clone());
  }
  const auto loss = [&] {
    const at::NoGradGuard no_grad;
    const TrunkOutput out = decoder->forward(batch, context);
    at::Tensor sum = decoder->head().loss_sum(out.hidden_TH, batch.label_T);
    for (const LayerRoute& route : out.routes) sum = sum + route.sums.entropy_sum * 0.1;
    return sum.item<double>();
  };
  constexpr double kStep = 1e-5;
  double largest = 0.0;
  const auto parameters = decoder->parameters();
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    auto* master = parameters[i]->master.mutable_data_ptr<double>();
    const auto* grad = grads[i].const_data_ptr<double>();
    for (const ops::LogicalTensor& part : parameters[i]->parts) {
      std::int64_t count = 1;
      for (const std::int64_t size : part.shape) count *= size;
      for (std::uint64_t pick = 0; pick < 3; ++pick) {
        const std::int64_t element =
            part.offset +
            static_cast<std::int64_t>(xxh3(part.name, pick) % static_cast<std::uint64_t>(count));
        const double original = master[element];
        master[element] = original + kStep;
        const double above = loss();
        master[element] = original - kStep;
        const double below = loss();
        master[element] = original;
        const double numeric = (above - below) / (2.0 * kStep);
        EXPECT_NEAR(grad[element], numeric, 1e-7 + 1e-6 * std::abs(numeric))
            << part.name << " element " << element - part.offset;
        largest = std::max(largest, std::abs(numeric));
      }
    }
  }
  EXPECT_GT(largest, 0.1) << "gradients this small prove nothing";
}

TEST(DecoderGradient, MatchesDifferencesForEveryRouter) {
  for (const RouterCase& c : router_cases()) {
    SCOPED_TRACE(c.name);
    expect_decoder_gradients(small_config(c.router), {});
  }
}

TEST(DecoderGradient, MatchesDifferencesWithEveryOption) {
  config::ModelConfig config = small_config();
  config.tie_embeddings = false;
  config.qkv_bias = true;
  config.qk_norm = true;
  config.dropout = 0.2;
  config.moe.layers = {0, 1};
  expect_decoder_gradients(config, {.step = 2, .training = true, .seed = 5});
}

TEST(DecoderGradient, BuffersAddUpOverMicroBatches) {
  const auto decoder = make_decoder(small_config());
  const Batch first = make_batch({random_tokens(7, 1)});
  const Batch second = make_batch({random_tokens(12, 2)});
  (void)loss_and_gradients(*decoder, make_batch({random_tokens(7, 1), random_tokens(12, 2)}));
  std::vector<at::Tensor> expected;
  for (ops::Parameter* parameter : decoder->parameters()) {
    expected.push_back(parameter->grad.clone());
    ops::zero_grad(*parameter);
  }
  for (const Batch* batch : {&first, &second}) {
    const TrunkOutput out = decoder->forward(*batch, {});
    (decoder->head().loss_sum(out.hidden_TH, batch->label_T) + out.routes[0].sums.entropy_sum * 0.1)
        .backward();
    for (ops::Parameter* parameter : decoder->parameters()) ops::collect_grad(*parameter);
  }
  const auto parameters = decoder->parameters();
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    EXPECT_LT((parameters[i]->grad - expected[i]).abs().max().item<double>(), 1e-11)
        << parameters[i]->name;
  }
}

}  // namespace
}  // namespace switchyard::model
