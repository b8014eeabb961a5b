#include "switchyard/inference/evaluate.h"

#include <ATen/core/grad_mode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <string>

#include "support/tiny_model.h"
#include "switchyard/config/routers/top_k.h"
#include "switchyard/core/error.h"
#include "switchyard/format/sentencepiece_model.h"

namespace switchyard::inference {
namespace {

using ::testing::HasSubstr;
using testing::kTinyVocab;
using ::testing::ThrowsMessage;
using testing::tiny_config;
using testing::tiny_window;

constexpr std::int64_t kWindow = 16;

config::Config byte_config() {
  config::Config config = tiny_config("fp64");
  config.model.vocab_size = data::Tokenizer::byte_level().vocab_size();
  config.model.init_std = 0.2;
  return config;
}

std::string text_of(std::size_t num_bytes) {
  std::string text;
  while (text.size() < num_bytes) text += "the quick brown fox 0123 ";
  text.resize(num_bytes);
  return text;
}

class EvaluateText : public ::testing::Test {
 protected:
  EvaluateText()
      : config_(byte_config()),
        tokenizer_(data::Tokenizer::byte_level()),
        decoder_(config_.model, kWindow, ops::precision_policy("fp64")) {
    decoder_.initialize(3);
  }

  [[nodiscard]] TextEvaluation evaluate(const std::string& text, std::int64_t stride = 0) {
    return evaluate_text(decoder_, tokenizer_, text,
                         {.sequence_length = kWindow, .stride = stride});
  }

  // The mean loss of x[1..], each token predicted from the context that the windows give it, one
  // forward pass per token.
  [[nodiscard]] double loss_one_by_one(const std::string& text, std::int64_t stride) {
    std::vector<std::int32_t> stream = tokenizer_.encode(text);
    stream.insert(stream.begin(), *tokenizer_.separator_id());
    const auto num_inputs = static_cast<std::int64_t>(stream.size()) - 1;
    double nats = 0.0;
    for (std::int64_t i = 0; i < num_inputs; ++i) {
      // The window whose new labels reach past i.
      std::int64_t end = std::min(kWindow, num_inputs);
      while (end <= i) end = std::min(end + stride, num_inputs);
      const std::int64_t begin = std::max<std::int64_t>(0, end - kWindow);
      const std::vector<data::Sample> context = {
          {.token = {stream.begin() + begin, stream.begin() + i + 2}, .document_start = {}}};
      const model::MicroBatch micro = make_batch(context, {.num_uncounted = {i - begin}});
      const at::NoGradGuard no_grad;
      const auto output = decoder_.forward(micro.batch, {});
      nats += decoder_.head().loss_sum(output.hidden_TH, micro.batch.label_T).item<double>();
    }
    return nats / static_cast<double>(num_inputs);
  }

  config::Config config_;
  data::Tokenizer tokenizer_;
  model::Decoder decoder_;
};

TEST_F(EvaluateText, UniformModelHasTheBitsPerByteOfHandArithmetic) {
  // With a tied output matrix of zeros every token has probability 1 / 257.
  ops::Parameter& embedding = *decoder_.parameters().front();
  embedding.master.detach().zero_();
  ops::publish(embedding);
  const TextEvaluation result = evaluate(text_of(101));
  EXPECT_EQ(result.num_bytes, 101);
  EXPECT_EQ(result.num_tokens, 101);
  EXPECT_NEAR(result.loss, std::log(257.0), 1e-12);
  EXPECT_NEAR(result.perplexity, 257.0, 1e-9);
  EXPECT_NEAR(result.bits_per_byte.value(), std::log2(257.0), 1e-12);
  EXPECT_TRUE(result.lossless);
  EXPECT_EQ(result.stride, kWindow / 2);
}

// Knows the letters a and b; everything else is unknown.
data::Tokenizer two_letter_tokenizer() {
  format::SentencePieceModel model;
  model.piece = {{"<unk>", 0.0F, format::PieceType::kUnknown}, {"a", -1.0F}, {"b", -2.0F}};
  model.add_dummy_prefix = model.remove_extra_whitespaces = false;
  return data::Tokenizer::from_sentencepiece(format::serialize_sentencepiece_model(model), "ab");
}

TEST_F(EvaluateText, HasNoBitsPerByteWhereTheTokenizerLosesSomeOfTheText) {
  const data::Tokenizer lossy = two_letter_tokenizer();
  ASSERT_FALSE(lossy.lossless());
  const auto evaluated = [&](const std::string& text) {
    return evaluate_text(decoder_, lossy, text, {.sequence_length = kWindow});
  };
  const TextEvaluation changed = evaluated("abba c abba");
  EXPECT_FALSE(changed.lossless);
  EXPECT_EQ(changed.bits_per_byte, std::nullopt);
  EXPECT_GT(changed.loss, 0.0);
  // A text that it does give back compares with others.
  const TextEvaluation kept = evaluated("abbaabba");
  EXPECT_TRUE(kept.lossless);
  EXPECT_GT(kept.bits_per_byte.value(), 0.0);
}

TEST(ValidationResult, HasBitsPerByteOfBytesThatAreKnownAndWereAllKept) {
  const TokenDifficulty none(kTinyVocab, 0, {});
  ValidationResult result{.sums = {.nats = 8.0 * std::numbers::ln2, .num_tokens = 2},
                          .difficulty = none,
                          .num_bytes = 4};
  EXPECT_DOUBLE_EQ(result.bits_per_byte().value(), 2.0);
  result.lossless = false;
  EXPECT_EQ(result.bits_per_byte(), std::nullopt);
  EXPECT_EQ((ValidationResult{.sums = {}, .difficulty = none}).bits_per_byte(), std::nullopt);
}

TEST_F(EvaluateText, EveryTokenIsPredictedOnceWithAtLeastTheContextOfTheStride) {
  for (const std::size_t num_bytes : {1U, 15U, 16U, 17U, 23U, 24U, 25U, 50U}) {
    const std::string text = text_of(num_bytes);
    for (const std::int64_t stride : {1, 5, 8, 16}) {
      const TextEvaluation result = evaluate(text, stride);
      EXPECT_EQ(result.num_tokens, static_cast<std::int64_t>(num_bytes));
      EXPECT_NEAR(result.loss, loss_one_by_one(text, stride), 1e-10)
          << num_bytes << " bytes, stride " << stride;
    }
  }
}

TEST_F(EvaluateText, DoesNotDependOnHowWindowsShareABatch) {
  // 4096 tokens are a batch: this text needs more than one.
  const std::string text = text_of(2500);
  std::vector<std::int64_t> progress;
  const TextEvaluation result = evaluate_text(
      decoder_, tokenizer_, text,
      {.sequence_length = kWindow, .progress = [&progress](std::int64_t done, std::int64_t total) {
         EXPECT_EQ(total, 2500);
         progress.push_back(done);
       }});
  EXPECT_GT(progress.size(), 1U);
  EXPECT_EQ(progress.back(), 2500);
  EXPECT_NEAR(result.loss, loss_one_by_one(text, kWindow / 2), 1e-10);
}

TEST_F(EvaluateText, CountsExpertsOfTheCountedTokensOnly) {
  config::Config config = byte_config();
  config.model.moe.router = config::RouterConfig(config::TopKOptions{.k = 3});
  config.model.moe.layers = {0, 1};
  model::Decoder decoder(config.model, kWindow, ops::precision_policy("fp64"));
  decoder.initialize(3);
  const TextEvaluation result =
      evaluate_text(decoder, tokenizer_, text_of(50), {.sequence_length = kWindow});
  EXPECT_EQ(result.experts_per_token.value(), 3.0);
}

TEST_F(EvaluateText, EmptyTextAndImpossibleStridesAreRefused) {
  EXPECT_THROW((void)evaluate(""), DataError);
  EXPECT_THROW((void)evaluate("abc", kWindow + 1), UsageError);
  EXPECT_THROW((void)evaluate("abc", -1), UsageError);
}

// Drops spaces around its two letters.
data::Tokenizer stripping_tokenizer(bool has_separator) {
  format::SentencePieceModel model;
  model.piece = {{"<unk>", 0.0F, format::PieceType::kUnknown}, {"a", -1.0F}, {"b", -2.0F}};
  if (has_separator) model.piece.push_back({"</s>", 0.0F, format::PieceType::kControl});
  model.add_dummy_prefix = false;
  return data::Tokenizer::from_sentencepiece(format::serialize_sentencepiece_model(model), "ab");
}

TEST_F(EvaluateText, ATextWithoutATokenToPredictIsRefused) {
  const auto evaluated = [&](const data::Tokenizer& tokenizer, const std::string& text) {
    return evaluate_text(decoder_, tokenizer, text, {.sequence_length = kWindow});
  };
  const data::Tokenizer with_separator = stripping_tokenizer(true);
  const data::Tokenizer without = stripping_tokenizer(false);
  ASSERT_TRUE(with_separator.separator_id().has_value());
  ASSERT_FALSE(without.separator_id().has_value());
  for (const data::Tokenizer& tokenizer : {with_separator, without}) {
    ASSERT_TRUE(tokenizer.encode("   ").empty());
    EXPECT_THAT([&] { (void)evaluated(tokenizer, "   "); },
                ThrowsMessage<DataError>(HasSubstr("nothing that the tokenizer makes a token of")));
  }
  ASSERT_EQ(without.encode("a").size(), 1U);
  EXPECT_THAT([&] { (void)evaluated(without, "a"); },
              ThrowsMessage<DataError>(HasSubstr("a single token")));
  EXPECT_EQ(evaluated(with_separator, "a").num_tokens, 1);
  EXPECT_EQ(evaluated(without, "ab").num_tokens, 2);
}

TEST(EvaluateBatch, LeavesTheModelAloneAndIgnoresDropout) {
  config::Config config = tiny_config("fp64");
  config.model.dropout = 0.5;
  model::Decoder decoder(config.model, kWindow, ops::precision_policy("fp64"));
  decoder.initialize(config.run.seed);
  const std::vector<data::Sample> windows = {tiny_window(0, 16), tiny_window(1, 16)};
  const model::MicroBatch micro = make_batch(windows, {});
  const LossSums first = evaluate_batch(decoder, micro.batch, 0).sums;
  const LossSums second = evaluate_batch(decoder, micro.batch, 5).sums;
  EXPECT_EQ(first.nats, second.nats);
  EXPECT_EQ(first.num_tokens, 32);
  EXPECT_EQ(first.num_moe_layers, 1);
  EXPECT_GE(first.experts_per_token().value(), 1.0);
}

}  // namespace
}  // namespace switchyard::inference
