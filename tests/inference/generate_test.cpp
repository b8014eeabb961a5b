#include "switchyard/inference/generate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <set>
#include <string>
#include <vector>

#include "support/tiny_model.h"
#include "switchyard/core/error.h"
#include "switchyard/inference/batching.h"

namespace switchyard::inference {
namespace {

using testing::tiny_config;

struct GenerateCase {
  const char* router;
  const char* precision;
};

config::Config byte_config(const GenerateCase& instance) {
  config::Config config = tiny_config(instance.precision);
  config.model.vocab_size = data::Tokenizer::byte_level().vocab_size();
  config.model.moe.router = config::RouterConfig(instance.router);
  config.model.moe.layers = {0, 1};
  config.model.init_std = 0.3;  // away from uniform, so that texts differ
  return config;
}

class Generate : public ::testing::TestWithParam<GenerateCase> {
 protected:
  Generate()
      : config_(byte_config(GetParam())),
        tokenizer_(data::Tokenizer::byte_level()),
        decoder_(config_.model, config_.data.sequence_length,
                 ops::precision_policy(config_.train.precision)) {
    decoder_.initialize(5);
  }

  [[nodiscard]] GenerateOptions options(std::int64_t max_tokens, bool use_cache) const {
    return {.sampling = {.temperature = 1.0, .seed = 11},
            .max_tokens = max_tokens,
            .sequence_length = config_.data.sequence_length,
            .use_cache = use_cache};
  }

  struct Run {
    Generation generation;
    std::vector<GeneratedToken> tokens;
  };
  [[nodiscard]] Run run(const std::string& prompt, const GenerateOptions& given) {
    Run result;
    result.generation =
        generate(decoder_, tokenizer_, prompt, given,
                 [&result](const GeneratedToken& token) { result.tokens.push_back(token); });
    return result;
  }

  config::Config config_;
  data::Tokenizer tokenizer_;
  model::Decoder decoder_;
};

// Another rank's numbers may differ in their last bits, and with them what it would choose.
TEST_P(Generate, OnSeveralRanksTheTextIsTheFirstOnes) {
  const Run first = run("hello", options(12, true));
  std::vector<std::int32_t> chosen;
  for (const GeneratedToken& token : first.tokens) {
    if (!token.is_prompt) chosen.push_back(token.id);
  }
  GenerateOptions of_second = options(static_cast<std::int64_t>(chosen.size()), true);
  of_second.sampling.seed = 12;
  ASSERT_NE(run("hello", of_second).generation.text, first.generation.text);
  std::size_t num_asked = 0;
  of_second.ranks = {
      .rank = 1, .num_ranks = 2, .sum = {}, .of_first = [&](std::int64_t /*own*/) -> std::int64_t {
        return chosen.at(num_asked++);
      }};
  EXPECT_EQ(run("hello", of_second).generation.text, first.generation.text);
  // And what the first one says is what it takes.
  GenerateOptions of_first = options(12, true);
  std::vector<std::int32_t> said;
  of_first.ranks = {.rank = 0, .num_ranks = 2, .sum = {}, .of_first = [&](std::int64_t own) {
                      said.push_back(static_cast<std::int32_t>(own));
                      return own;
                    }};
  EXPECT_EQ(run("hello", of_first).generation.text, first.generation.text);
  if (first.generation.reached_end) said.pop_back();
  EXPECT_EQ(said, chosen);
}

// 40 tokens outgrow the window of 16 several times.
TEST_P(Generate, CachedTextEqualsTextComputedAnewForEveryToken) {
  for (const char* prompt : {"", "a", "hello wo", "a prompt longer than the window of tokens"}) {
    const Run cached = run(prompt, options(40, true));
    const Run anew = run(prompt, options(40, false));
    EXPECT_EQ(cached.generation.text, anew.generation.text) << prompt;
    EXPECT_EQ(cached.generation.num_tokens, anew.generation.num_tokens);
    ASSERT_EQ(cached.tokens.size(), anew.tokens.size());
    for (std::size_t i = 0; i < cached.tokens.size(); ++i) {
      EXPECT_EQ(cached.tokens[i].id, anew.tokens[i].id);
      EXPECT_NEAR(cached.tokens[i].experts, anew.tokens[i].experts, 1e-9) << "token " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Routers, Generate,
    ::testing::Values(GenerateCase{"top_p", "fp64"}, GenerateCase{"top_k", "fp64"},
                      GenerateCase{"attention_importance", "fp64"}, GenerateCase{"top_p", "fp32"}),
    [](const auto& instance) {
      return std::string(instance.param.router) + "_" + instance.param.precision;
    });

using GenerateTopP = Generate;
INSTANTIATE_TEST_SUITE_P(One, GenerateTopP, ::testing::Values(GenerateCase{"top_p", "fp64"}));

TEST_P(GenerateTopP, TokensComeInOrderWithTheirExperts) {
  const Run result = run("hey", options(5, true));
  ASSERT_EQ(result.tokens.size(), 3U + static_cast<std::size_t>(result.generation.num_tokens));
  std::string text;
  for (std::size_t i = 0; i < result.tokens.size(); ++i) {
    EXPECT_EQ(result.tokens[i].is_prompt, i < 3);
    EXPECT_GE(result.tokens[i].experts, 1.0);
    EXPECT_LE(result.tokens[i].experts, 4.0);
    text += result.tokens[i].bytes;
  }
  EXPECT_EQ(text, "hey" + result.generation.text);
  EXPECT_FALSE(result.generation.window_moved);
}

TEST_P(GenerateTopP, TemperatureZeroTakesTheModelsFirstChoice) {
  GenerateOptions greedy = options(3, true);
  greedy.sampling.temperature = 0.0;
  const Run result = run("hello", greedy);
  std::vector<data::Sample> window(1);
  window[0].token = tokenizer_.encode("hello");
  window[0].token.insert(window[0].token.begin(), *tokenizer_.separator_id());
  window[0].token.push_back(0);  // no label is read
  const model::MicroBatch micro = make_batch(window, {});
  const at::Tensor logits =
      decoder_.head().logits(decoder_.forward(micro.batch, {}).hidden_TH).select(0, 5);
  EXPECT_EQ(result.tokens[5].id, logits.argmax().item<std::int64_t>());
}

TEST_P(GenerateTopP, SeedDecidesTheText) {
  GenerateOptions other = options(20, true);
  other.sampling.seed = 12;
  EXPECT_EQ(run("x", options(20, true)).generation.text,
            run("x", options(20, true)).generation.text);
  EXPECT_NE(run("x", options(20, true)).generation.text, run("x", other).generation.text);
}

TEST_P(GenerateTopP, EveryTokenIsADrawOfItsOwn) {
  // A tied output matrix of zeros: all tokens are equally probable everywhere.
  ops::Parameter& embedding = *decoder_.parameters().front();
  embedding.master.detach().zero_();
  ops::publish(embedding);
  std::set<std::int32_t> drawn;
  for (const GeneratedToken& token : run("", options(20, true)).tokens) drawn.insert(token.id);
  EXPECT_GT(drawn.size(), 10U);
}

TEST_P(GenerateTopP, IsAskedBeforeEveryTokenWhetherItIsEnough) {
  GenerateOptions stopping = options(20, true);
  int num_asked = 0;
  stopping.should_stop = [&num_asked] { return ++num_asked > 3; };
  const Generation stopped = run("x", stopping).generation;
  EXPECT_TRUE(stopped.was_stopped);
  EXPECT_EQ(stopped.num_tokens, 3);
  const Generation whole = run("x", options(20, true)).generation;
  EXPECT_FALSE(whole.was_stopped);
  EXPECT_TRUE(whole.text.starts_with(stopped.text));
}

TEST_P(GenerateTopP, TheDocumentSeparatorEndsTheText) {
  // The separator's row of the tied output matrix points along the last hidden state: certain.
  std::vector<data::Sample> window(1);
  window[0].token = {*tokenizer_.separator_id(), 'a', 0};
  const model::MicroBatch micro = make_batch(window, {});
  const at::Tensor hidden_H = decoder_.forward(micro.batch, {}).hidden_TH.select(0, 1).detach();
  config::Config untied = config_;
  untied.model.tie_embeddings = false;
  model::Decoder decoder(untied.model, untied.data.sequence_length, ops::precision_policy("fp64"));
  decoder.initialize(5);
  for (ops::Parameter* parameter : decoder.parameters()) {
    if (parameter->name != "lm_head.weight") continue;
    parameter->master.detach().zero_();
    parameter->master.detach().select(0, *tokenizer_.separator_id()).copy_(hidden_H.mul(100.0));
    ops::publish(*parameter);
  }
  const Generation generation = generate(decoder, tokenizer_, "a", options(20, true));
  EXPECT_TRUE(generation.reached_end);
  EXPECT_EQ(generation.num_tokens, 0);
  EXPECT_EQ(generation.text, "");
}

TEST_P(GenerateTopP, DamagedWeightsAreAnErrorNotText) {
  ops::Parameter& embedding = *decoder_.parameters().front();
  embedding.master.detach().fill_(std::numeric_limits<double>::quiet_NaN());
  ops::publish(embedding);
  EXPECT_THROW((void)generate(decoder_, tokenizer_, "a", options(5, true)), NonFiniteError);
}

}  // namespace
}  // namespace switchyard::inference
