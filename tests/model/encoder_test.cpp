#include "switchyard/model/encoder.h"

#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "model/decoder_fixture.h"
#include "support/tensors.h"
#include "switchyard/core/error.h"
#include "switchyard/model/make_model.h"
#include "switchyard/model/parameter_counts.h"
#include "switchyard/model/throughput.h"

namespace switchyard::model {
namespace {

using testing::expect_close;

config::RouterConfig importance(const std::string& measure, const std::string& allocation) {
  return config::RouterConfig(config::AttentionImportanceOptions{
      .importance = measure, .k_max = 3, .allocation = allocation});
}

std::vector<RouterCase> encoder_routers() {
  std::vector<RouterCase> cases = router_cases();
  cases.push_back({"default importance", importance("auto", "proportional")});
  cases.push_back({"received budget", importance("attention_received", "budget")});
  cases.push_back({"received peak", importance("attention_received_peak", "proportional")});
  cases.push_back({"peak, rounded up", importance("attention_peak", "ceil_experts")});
  cases.push_back(
      {"received peak, rounded up", importance("attention_received_peak", "ceil_experts")});
  return cases;
}

std::unique_ptr<Encoder> make_encoder(const config::RouterConfig& router) {
  at::set_num_threads(1);
  config::ModelConfig config = small_config(router);
  config.type = "encoder";
  auto encoder = std::make_unique<Encoder>(config, kSequenceLength,
                                           ops::PrecisionPolicy{.compute = at::kDouble});
  encoder->initialize(3);
  return encoder;
}

struct Pass {
  double loss = 0.0;
  std::vector<std::vector<std::int32_t>> experts;
  std::vector<at::Tensor> gradients;
};

Pass pass(Encoder& encoder, const Batch& batch) {
  Pass result;
  for (ops::Parameter* parameter : encoder.parameters()) ops::zero_grad(*parameter);
  const TrunkOutput out = encoder.forward(batch, {.training = true});
  at::Tensor loss = encoder.head().loss_sum(out.hidden_TH, batch);
  for (const LayerRoute& route : out.routes) {
    loss = loss + route.sums.entropy_sum * 0.1;
    result.experts = experts_of_tokens(route.routing);
  }
  loss.backward();
  for (ops::Parameter* parameter : encoder.parameters()) {
    ops::collect_grad(*parameter);
    result.gradients.push_back(parameter->grad.clone());
  }
  result.loss = loss.item<double>();
  return result;
}

// Two sequences of 9 and 5 tokens, each padded to twice its length.
TEST(Encoder, PaddingChangesNothing) {
  const std::vector<std::int64_t> first = random_tokens(9, 1);
  const std::vector<std::int64_t> second = random_tokens(5, 2);
  const Batch packed = make_batch({first, second});
  std::vector<std::int64_t> longer = first;
  std::vector<std::int64_t> other = second;
  longer.resize(18, 7);
  other.resize(10, 7);
  Batch padded = make_batch({longer, other});
  padded.valid_T = at::full({28}, true, at::kBool);
  std::vector<std::size_t> place;  // of the packed tokens among the padded ones
  for (std::int64_t t = 0; t < 28; ++t) {
    const bool is_padding = (t >= 9 && t < 18) || t >= 23;
    padded.valid_T[t].fill_(!is_padding);
    if (!is_padding) place.push_back(static_cast<std::size_t>(t));
  }
  padded.label_T = at::full({28}, -1, at::kLong);
  for (std::size_t t = 0; t < place.size(); ++t) {
    padded.label_T[static_cast<std::int64_t>(place[t])] =
        packed.label_T[static_cast<std::int64_t>(t)];
  }
  for (const RouterCase& entry : encoder_routers()) {
    SCOPED_TRACE(entry.name);
    const auto encoder = make_encoder(entry.router);
    const Pass tight = pass(*encoder, packed);
    const Pass loose = pass(*encoder, padded);
    EXPECT_NEAR(loose.loss, tight.loss, 1e-12 * std::abs(tight.loss));
    ASSERT_EQ(loose.experts.size(), 28U);
    for (std::size_t t = 0; t < place.size(); ++t) {
      EXPECT_EQ(loose.experts[place[t]], tight.experts[t]) << "token " << t;
    }
    for (std::size_t t = 0; t < 28; ++t) {
      const bool is_padding = (t >= 9 && t < 18) || t >= 23;
      EXPECT_TRUE(loose.experts[t].empty() || !is_padding) << "padding got experts";
    }
    for (std::size_t i = 0; i < tight.gradients.size(); ++i) {
      expect_close(loose.gradients[i], tight.gradients[i], 1e-12, 1e-12);
    }
  }
}

TEST(Encoder, GivesDifferentTokensDifferentNumbersOfExperts) {
  for (const char* measure : {"attention_peak", "attention_received_peak"}) {
    const auto encoder = make_encoder(config::RouterConfig(config::AttentionImportanceOptions{
        .importance = measure, .k_max = 4, .allocation = "ceil_experts"}));
    // Attention that prefers some keys.
    for (ops::Parameter* parameter : encoder->parameters()) {
      if (parameter->name.find("qkv_proj") != std::string::npos) parameter->init_std *= 2.5;
    }
    encoder->initialize(3);
    const auto experts = pass(*encoder, make_batch({random_tokens(30, 5)})).experts;
    std::size_t fewest = 99;
    std::size_t most = 0;
    for (const auto& of_token : experts) {
      fewest = std::min(fewest, of_token.size());
      most = std::max(most, of_token.size());
    }
    EXPECT_LT(fewest, most) << measure;
    EXPECT_GE(fewest, 1U);
    EXPECT_LE(most, 4U);
  }
}

TEST(Encoder, LossOfNamedTokensIsTheLossOfAllLabels) {
  const auto encoder = make_encoder(router_cases()[0].router);
  Batch batch = make_batch({random_tokens(12, 4), random_tokens(7, 5)});
  batch.label_T.index_fill_(0, at::tensor({0, 1, 3, 4, 5, 8, 13, 14}, at::kLong), -1);
  const Pass all = pass(*encoder, batch);
  batch.label_token_M = batch.label_T.ge(0).nonzero().view({-1});
  ASSERT_GT(batch.label_token_M.numel(), 3);
  const Pass named = pass(*encoder, batch);
  EXPECT_NEAR(named.loss, all.loss, 1e-12);
  for (std::size_t i = 0; i < all.gradients.size(); ++i) {
    expect_close(named.gradients[i], all.gradients[i], 1e-12, 1e-12);
  }
}

TEST(Encoder, IsWhatAConfigOfThatTypeMakes) {
  config::ModelConfig config = small_config(importance("attention_received", "proportional"));
  config.type = "encoder";
  const ops::PrecisionPolicy policy{.compute = at::kFloat};
  EXPECT_NE(dynamic_cast<Encoder*>(make_model(config, kSequenceLength, policy).get()), nullptr);
  const std::int64_t parameters = count_parameters(config).total;
  config.type = "decoder";
  EXPECT_THROW((void)make_model(config, kSequenceLength, policy), UsageError)
      << "what a token receives";
  config.moe.router = router_cases()[0].router;
  EXPECT_NE(dynamic_cast<Decoder*>(make_model(config, kSequenceLength, policy).get()), nullptr);
  EXPECT_EQ(count_parameters(config).total, parameters);
}

TEST(Encoder, ItsTokensSeeTheWholeWindowAndItsHeadSomeOfThem) {
  config::ModelConfig config = small_config();
  const double causal = count_training_flops(config, 9).fixed;
  config.type = "encoder";
  // 12 x 2 layers x 4 heads x 4 channels x (9 - 5) more keys.
  EXPECT_DOUBLE_EQ(count_training_flops(config, 9).fixed - causal, 12.0 * 2 * 4 * 4 * 4);
  // The head is 19 x 12.
  EXPECT_DOUBLE_EQ(
      count_training_flops(config, 9).fixed - count_training_flops(config, 9, 0.25).fixed,
      6.0 * 0.75 * 19 * 12);
}

}  // namespace
}  // namespace switchyard::model
