#include "switchyard/model/decoder.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/log_softmax.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "model/decoder_fixture.h"
#include "support/tensors.h"
#include "switchyard/core/error.h"

namespace switchyard::model {
namespace {

using ::switchyard::testing::expect_close;
using ::testing::ElementsAreArray;

TEST(Decoder, ALaterTokenChangesNothingBeforeItWhateverTheRouter) {
  const at::NoGradGuard no_grad;
  constexpr std::int64_t kChanged = 25;
  for (const RouterCase& c : router_cases()) {
    SCOPED_TRACE(c.name);
    const auto decoder = make_decoder(small_config(c.router));
    std::vector<std::int64_t> tokens = random_tokens(40, 1);
    const TrunkOutput before = decoder->forward(make_batch({tokens}), {.training = true});
    for (std::size_t i = kChanged; i < tokens.size(); ++i) tokens[i] = (tokens[i] + 7) % 19;
    const TrunkOutput after = decoder->forward(make_batch({tokens}), {.training = true});
    // Rounding may differ: the experts' products have other shapes.
    expect_close(after.hidden_TH.narrow(0, 0, kChanged), before.hidden_TH.narrow(0, 0, kChanged),
                 1e-12, 1e-12);
    EXPECT_GT((after.hidden_TH[kChanged] - before.hidden_TH[kChanged]).abs().max().item<double>(),
              1e-3);
    auto experts_before = experts_of_tokens(before.routes.at(0).routing);
    auto experts_after = experts_of_tokens(after.routes.at(0).routing);
    EXPECT_NE(experts_before, experts_after) << "the change reached no routing: a weak test";
    experts_before.resize(kChanged);
    experts_after.resize(kChanged);
    EXPECT_EQ(experts_before, experts_after);
  }
}

TEST(Decoder, PaddingOnEitherSideChangesNoTokenSumOrGradient) {
  for (const RouterCase& c : router_cases()) {
    SCOPED_TRACE(c.name);
    const std::vector<std::int64_t> first = random_tokens(5, 1);
    const std::vector<std::int64_t> second = random_tokens(7, 2);
    const auto decoder = make_decoder(small_config(c.router));
    const Batch plain = make_batch({first, second});
    const double plain_loss = loss_and_gradients(*decoder, plain);
    const TrunkOutput plain_out = decoder->forward(plain, {});
    std::map<std::string, at::Tensor> plain_grad;
    for (const ops::Parameter* parameter : decoder->parameters()) {
      plain_grad[parameter->name] = parameter->grad.clone();
    }

    // Three tokens behind the first sequence, two before the second.
    std::vector<std::int64_t> first_padded = first;
    first_padded.insert(first_padded.end(), {4, 4, 9});
    std::vector<std::int64_t> second_padded = second;
    second_padded.insert(second_padded.begin(), {5, 17});
    Batch padded = make_batch({first_padded, second_padded});
    padded.valid_T = at::full({17}, true, at::kBool);
    padded.position_T = at::tensor(
        std::vector<std::int64_t>{0, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6}, at::kLong);
    for (const std::int64_t t : {5, 6, 7, 8, 9}) {
      padded.valid_T[t] = false;
      padded.label_T[t] = -1;
    }
    padded.label_T[4] = -1;
    EXPECT_NEAR(loss_and_gradients(*decoder, padded), plain_loss, 1e-10);
    for (const ops::Parameter* parameter : decoder->parameters()) {
      SCOPED_TRACE(parameter->name);
      expect_close(parameter->grad, plain_grad[parameter->name], 1e-10, 1e-10);
    }

    const TrunkOutput out = decoder->forward(padded, {});
    const at::Tensor kept =
        at::cat({out.hidden_TH.narrow(0, 0, 5), out.hidden_TH.narrow(0, 10, 7)});
    expect_close(kept, plain_out.hidden_TH, 1e-11, 1e-11);
    const auto experts = experts_of_tokens(out.routes.at(0).routing);
    for (const std::size_t t : {5, 6, 7, 8, 9}) EXPECT_TRUE(experts[t].empty());
    const ops::RouteSums& sums = out.routes.at(0).sums;
    const ops::RouteSums& plain_sums = plain_out.routes.at(0).sums;
    EXPECT_TRUE(at::equal(sums.count_BE, plain_sums.count_BE));
    EXPECT_TRUE(at::equal(sums.num_tokens_B, plain_sums.num_tokens_B));
    EXPECT_TRUE(at::equal(sums.k_histogram_E1, plain_sums.k_histogram_E1));
    expect_close(sums.prob_sum_BE, plain_sums.prob_sum_BE, 1e-11, 1e-11);
    expect_close(sums.z_sum, plain_sums.z_sum, 1e-11, 1e-11);
  }
}

TEST(Decoder, PackedDocumentsEqualSeparateRuns) {
  const at::NoGradGuard no_grad;
  for (const RouterCase& c : router_cases()) {
    SCOPED_TRACE(c.name);
    const auto decoder = make_decoder(small_config(c.router));
    const std::vector<std::vector<std::int64_t>> documents{random_tokens(9, 1), random_tokens(1, 2),
                                                           random_tokens(30, 3)};
    const TrunkOutput packed = decoder->forward(make_batch(documents), {});
    std::int64_t begin = 0;
    for (const auto& document : documents) {
      const TrunkOutput alone = decoder->forward(make_batch({document}), {});
      expect_close(packed.hidden_TH.narrow(0, begin, std::ssize(document)), alone.hidden_TH, 1e-12,
                   1e-12);
      begin += std::ssize(document);
    }
  }
}

TEST(Decoder, LossAndLogitsAgree) {
  const at::NoGradGuard no_grad;
  for (const bool tied : {true, false}) {
    config::ModelConfig config = small_config();
    config.tie_embeddings = tied;
    const auto decoder = make_decoder(config);
    const Batch batch = make_batch({random_tokens(6, 1), random_tokens(4, 2)});
    const TrunkOutput out = decoder->forward(batch, {});
    const at::Tensor log_probs = at::log_softmax(decoder->head().logits(out.hidden_TH), 1);
    const at::Tensor per_token = decoder->head().loss_per_token(out.hidden_TH, batch.label_T);
    double sum = 0.0;
    for (std::int64_t t = 0; t < 10; ++t) {
      const auto label = batch.label_T[t].item<std::int64_t>();
      const double expected = label < 0 ? 0.0 : -log_probs[t][label].item<double>();
      EXPECT_NEAR(per_token[t].item<double>(), expected, 1e-12);
      sum += expected;
    }
    EXPECT_NEAR(decoder->head().loss_sum(out.hidden_TH, batch.label_T).item<double>(), sum, 1e-11);
  }
}

TEST(Decoder, ATemperatureDividesLogitsAndLeavesTheLossOfTrainingAlone) {
  const at::NoGradGuard no_grad;
  const auto decoder = make_decoder(small_config());
  const Batch batch = make_batch({random_tokens(6, 1), random_tokens(4, 2)});
  const TrunkOutput out = decoder->forward(batch, {});
  LanguageModelHead& head = decoder->head();
  const at::Tensor plain = head.logits(out.hidden_TH);
  const at::Tensor loss_sum = head.loss_sum(out.hidden_TH, batch.label_T);
  head.set_temperature(1.7);
  expect_close(head.logits(out.hidden_TH), plain / 1.7, 1e-12, 1e-12);
  const at::Tensor log_probs = at::log_softmax(plain / 1.7, 1);
  const at::Tensor per_token = head.loss_per_token(out.hidden_TH, batch.label_T);
  for (std::int64_t t = 0; t < 10; ++t) {
    const auto label = batch.label_T[t].item<std::int64_t>();
    const double expected = label < 0 ? 0.0 : -log_probs[t][label].item<double>();
    EXPECT_NEAR(per_token[t].item<double>(), expected, 1e-12);
  }
  EXPECT_TRUE(at::equal(head.loss_sum(out.hidden_TH, batch.label_T), loss_sum));
}

TEST(Decoder, DropoutIsAFunctionOfSeedStepAndToken) {
  config::ModelConfig config = small_config();
  config.dropout = 0.3;
  const auto decoder = make_decoder(config);
  const at::NoGradGuard no_grad;
  const std::vector<std::vector<std::int64_t>> sequences{random_tokens(8, 1), random_tokens(8, 2)};
  const Batch batch = make_batch(sequences);
  const auto run = [&](const Batch& b, const ForwardContext& context) {
    return decoder->forward(b, context).hidden_TH;
  };
  const ForwardContext context{.step = 4, .training = true, .seed = 9};
  const at::Tensor whole = run(batch, context);
  EXPECT_TRUE(at::equal(whole, run(batch, context)));
  EXPECT_FALSE(at::equal(whole, run(batch, {.step = 5, .training = true, .seed = 9})));
  EXPECT_FALSE(at::equal(whole, run(batch, {.step = 4, .training = true, .seed = 10})));
  // The second sequence alone, as another micro-batch would hold it.
  Batch second = make_batch({sequences[1]});
  second.token_idx_T = second.token_idx_T + 8;
  expect_close(run(second, context), whole.narrow(0, 8, 8), 1e-12, 1e-12);
  // None outside training.
  config.dropout = 0.0;
  EXPECT_TRUE(at::equal(run(batch, {.step = 4}),
                        make_decoder(config)->forward(batch, {.step = 4}).hidden_TH));
}

TEST(Decoder, Bf16StaysCloseToFp32) {
  const at::NoGradGuard no_grad;
  config::ModelConfig config =
      small_config(config::RouterConfig(config::TopKOptions{.k = 4}, true));
  config.init_std = 0.1;
  const Batch batch = make_batch({random_tokens(30, 1)});
  const auto wide = make_decoder(config, at::kFloat);
  const auto narrow = make_decoder(config, at::kBFloat16);
  const TrunkOutput wide_out = wide->forward(batch, {});
  const TrunkOutput narrow_out = narrow->forward(batch, {});
  EXPECT_EQ(narrow_out.hidden_TH.scalar_type(), at::kBFloat16);
  expect_close(narrow_out.hidden_TH, wide_out.hidden_TH, 0.06, 0.02);
  const at::Tensor loss = narrow->head().loss_sum(narrow_out.hidden_TH, batch.label_T);
  EXPECT_EQ(loss.scalar_type(), at::kFloat);
  expect_close(loss, wide->head().loss_sum(wide_out.hidden_TH, batch.label_T), 0.0, 5e-3);
}

TEST(Decoder, PartsHaveTheNamesOfTheFilesAndCoverEveryParameter) {
  config::ModelConfig config = small_config();
  config.tie_embeddings = false;
  config.qkv_bias = true;
  config.qk_norm = true;
  const auto decoder = make_decoder(config, at::kFloat);
  std::vector<std::string> names;
  for (const ops::Parameter* parameter : decoder->parameters()) {
    std::int64_t covered = 0;
    for (const ops::LogicalTensor& part : parameter->parts) {
      names.push_back(part.name);
      EXPECT_EQ(part.offset, covered);
      std::int64_t count = 1;
      for (const std::int64_t size : part.shape) count *= size;
      covered += count;
    }
    EXPECT_EQ(covered, parameter->numel()) << parameter->name;
  }
  std::vector<std::string> expected{"model.embed_tokens.weight"};
  for (const std::string layer : {"model.layers.0.", "model.layers.1."}) {
    expected.push_back(layer + "input_norm.weight");
    for (const std::string suffix : {"weight", "bias"}) {
      for (const std::string part : {"q", "k", "v"}) {
        expected.push_back(layer + "self_attn." + part + "_proj." + suffix);
      }
    }
    expected.push_back(layer + "self_attn.q_norm.weight");
    expected.push_back(layer + "self_attn.k_norm.weight");
    expected.push_back(layer + "self_attn.o_proj.weight");
    expected.push_back(layer + "post_attention_norm.weight");
    if (layer == "model.layers.0.") {
      for (const std::string part : {"gate", "up", "down"}) {
        expected.push_back(layer + "mlp." + part + "_proj.weight");
      }
    } else {
      expected.push_back(layer + "moe.router.weight");
      for (const std::string expert : {"0", "1", "2", "3"}) {
        expected.push_back(layer + "moe.experts." + expert + ".gate_proj.weight");
        expected.push_back(layer + "moe.experts." + expert + ".up_proj.weight");
      }
      for (const std::string expert : {"0", "1", "2", "3"}) {
        expected.push_back(layer + "moe.experts." + expert + ".down_proj.weight");
      }
    }
  }
  expected.push_back("model.norm.weight");
  expected.push_back("lm_head.weight");
  EXPECT_THAT(names, ElementsAreArray(expected));
}

TEST(Decoder, NormsBiasesEmbeddingsAndRoutersAreNotDecayed) {
  config::ModelConfig config = small_config();
  config.qkv_bias = true;
  config.qk_norm = true;
  config.tie_embeddings = false;
  const auto decoder = make_decoder(config, at::kFloat);
  std::set<std::string> kept;
  for (const ops::Parameter* parameter : decoder->parameters()) {
    if (!parameter->decay) kept.insert(parameter->name);
  }
  std::set<std::string> expected{"model.embed_tokens.weight", "model.norm.weight",
                                 "model.layers.1.moe.router.weight"};
  for (const std::string layer : {"model.layers.0.", "model.layers.1."}) {
    for (const std::string name :
         {"input_norm.weight", "post_attention_norm.weight", "self_attn.qkv_proj.bias",
          "self_attn.q_norm.weight", "self_attn.k_norm.weight"}) {
      expected.insert(layer + name);
    }
  }
  EXPECT_EQ(kept, expected);
}

TEST(Decoder, InitialWeightsDependOnSeedAndNameAlone) {
  const auto decoder = make_decoder(small_config(), at::kFloat, 11);
  std::int64_t checked = 0;
  for (const ops::Parameter* parameter : decoder->parameters()) {
    if (parameter->initializer != ops::Initializer::normal) continue;
    for (const ops::LogicalTensor& part : parameter->parts) {
      ops::Parameter alone = ops::make_parameter(
          {.name = part.name, .shape = part.shape, .init_std = parameter->init_std}, {});
      ops::initialize(alone, 11);
      EXPECT_TRUE(at::equal(parameter->master.flatten().narrow(0, part.offset, alone.numel()),
                            alone.master.flatten()))
          << part.name;
      ++checked;
    }
  }
  EXPECT_EQ(checked, 1 + 2 * 4 + 3 + 1 + 12);
  // Matrices that write to the residual stream start smaller.
  const std::map<std::string, double> expected{{"model.layers.0.self_attn.o_proj.weight", 0.15},
                                               {"model.layers.0.mlp.down_proj.weight", 0.15},
                                               {"model.layers.1.moe.experts.w2", 0.15},
                                               {"model.layers.1.moe.experts.w1", 0.3},
                                               {"model.layers.1.moe.router.weight", 0.3}};
  std::size_t found = 0;
  for (const ops::Parameter* parameter : decoder->parameters()) {
    const auto entry = expected.find(parameter->name);
    if (entry == expected.end()) continue;
    EXPECT_DOUBLE_EQ(parameter->init_std, entry->second) << parameter->name;
    ++found;
  }
  EXPECT_EQ(found, expected.size());
}

TEST(Decoder, NoTokenAndOneTokenAreBatches) {
  for (const RouterCase& c : router_cases()) {
    SCOPED_TRACE(c.name);
    const auto decoder = make_decoder(small_config(c.router), at::kFloat);
    EXPECT_EQ(loss_and_gradients(*decoder, make_batch({})), 0.0);
    EXPECT_EQ(loss_and_gradients(*decoder, make_batch({{}, {}})), 0.0);
    for (const ops::Parameter* parameter : decoder->parameters()) {
      EXPECT_EQ(parameter->grad.abs().sum().item<double>(), 0.0) << parameter->name;
    }
    Batch one = make_batch({{5}});
    one.label_T[0] = 3;
    EXPECT_GT(loss_and_gradients(*decoder, one), 0.0);
    for (const ops::Parameter* parameter : decoder->parameters()) {
      EXPECT_TRUE(parameter->grad.isfinite().all().item<bool>()) << parameter->name;
    }
  }
}

TEST(Decoder, ExpertsThatChoseNoTokenGetZeroGradients) {
  const auto decoder =
      make_decoder(small_config(config::RouterConfig(config::TopKOptions{.k = 1})), at::kFloat);
  (void)loss_and_gradients(*decoder, make_batch({{5, 5, 5}}));
  for (const ops::Parameter* parameter : decoder->parameters()) {
    if (!parameter->is_expert) continue;
    const at::Tensor per_expert = parameter->grad.abs().flatten(1).sum(1);
    EXPECT_EQ(per_expert.count_nonzero().item<std::int64_t>(), 1) << parameter->name;
  }
}

TEST(Decoder, AModelWithoutVocabularyIsRefused) {
  config::ModelConfig config = small_config();
  config.vocab_size = 0;
  EXPECT_THROW(Decoder(config, 8, {}), InternalError);
}

}  // namespace
}  // namespace switchyard::model
