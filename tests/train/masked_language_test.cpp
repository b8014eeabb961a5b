// Masked-language pretraining: what a batch holds, what the loss is divided by, whole runs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "switchyard/comm/self.h"
#include "switchyard/comm/threads.h"
#include "switchyard/config/routers/attention_importance.h"
#include "switchyard/core/error.h"
#include "switchyard/model/encoder.h"
#include "switchyard/train/build.h"
#include "switchyard/train/pretrain.h"
#include "switchyard/train/trainer.h"
#include "train/run/run_ranks.h"
#include "train/tasks/masked_language_task.h"
#include "train/tiny_run_folder.h"

namespace switchyard::train {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::int64_t> numbers(const at::Tensor& tensor) {
  const at::Tensor list = tensor.to(at::kLong).contiguous();
  return {list.const_data_ptr<std::int64_t>(), list.const_data_ptr<std::int64_t>() + list.numel()};
}

MaskedData tiny_masks(std::int64_t sequence_length, std::uint64_t seed = 7) {
  return {
      .window = [sequence_length](std::int64_t idx) { return tiny_window(idx, sequence_length); },
      .sequence_length = sequence_length,
      .special = data::SpecialTokens::behind(kTinyVocab),
      .masking = {.rate = 0.3, .seed = seed}};
}

TEST(MaskedBatch, HoldsWindowsBetweenSpecialTokensAndLabelsOfWhatIsMasked) {
  const MaskedData data = tiny_masks(16);
  const model::MicroBatch micro = masked_batch(data, 5, 3, 2);
  EXPECT_EQ(micro.num_tokens, 48);
  EXPECT_EQ(micro.num_labels, 3 * 4) << "30 % of 14";
  EXPECT_THAT(micro.batch.sequence_offset, ElementsAre(0, 16, 32, 48));
  EXPECT_EQ(micro.batch.num_positions, 16);
  const auto token = numbers(micro.batch.token_T);
  const auto label = numbers(micro.batch.label_T);
  const auto place = numbers(micro.batch.label_token_M);
  const auto idx = numbers(micro.batch.token_idx_T);
  std::vector<std::int64_t> labelled;
  for (std::int64_t row = 0; row < 3; ++row) {
    const data::Sample window = tiny_window(5 + row, 16);
    const auto first = static_cast<std::size_t>(row * 16);
    EXPECT_EQ(token[first], data.special.cls);
    EXPECT_EQ(token[first + 15], data.special.sep);
    EXPECT_EQ(idx[first], (2 + row) * 16);
    for (std::size_t i = 1; i < 15; ++i) {
      if (label[first + i] >= 0) {
        labelled.push_back(static_cast<std::int64_t>(first + i));
        EXPECT_EQ(label[first + i], window.token[i - 1]);
      } else {
        EXPECT_EQ(token[first + i], window.token[i - 1]) << "only what is guessed is changed";
      }
    }
  }
  EXPECT_EQ(place, labelled);
}

TEST(MaskedBatch, MasksASampleAnewInEachEpochAndTheSameWayEachTime) {
  MaskedData data = tiny_masks(16);
  // Eight windows an epoch.
  data.window = [](std::int64_t idx) { return tiny_window(idx % 8, 16); };
  const auto places = [&](std::int64_t number) {
    return numbers(masked_batch(data, number, 1, 0).batch.label_token_M);
  };
  EXPECT_EQ(places(3), places(3));
  EXPECT_NE(places(3), places(11));
  // Wherever the sample is in its batch.
  const auto both = numbers(masked_batch(data, 2, 2, 0).batch.label_T);
  const auto alone = numbers(masked_batch(data, 3, 1, 0).batch.label_T);
  EXPECT_TRUE(std::equal(alone.begin(), alone.end(), both.begin() + 16));
  EXPECT_NE(places(3), numbers(masked_batch(tiny_masks(16, 8), 3, 1, 0).batch.label_token_M));
}

TEST(MaskedBatch, DocumentsOfAWindowAreSequencesOfTheirOwnWhenAsked) {
  MaskedData data = tiny_masks(10);
  data.tokenizer = data::Tokenizer::byte_level();
  data.special = data::SpecialTokens::behind(data.tokenizer->vocab_size());
  const std::int32_t separator = *data.tokenizer->separator_id();
  data.window = [separator](std::int64_t) {
    return data::Sample{.token = {65, 66, separator, 67, 68, 69, separator, 70, 71, 72, 73},
                        .document_start = {3, 7}};
  };
  EXPECT_THAT(masked_batch(data, 0, 2, 0).batch.sequence_offset, ElementsAre(0, 10, 20));
  data.attend_across_documents = false;
  const model::MicroBatch micro = masked_batch(data, 0, 2, 0);
  EXPECT_THAT(micro.batch.sequence_offset, ElementsAre(0, 3, 7, 10, 13, 17, 20));
  const auto token = numbers(micro.batch.token_T);
  for (const std::size_t begin : {0, 3, 7, 10}) EXPECT_EQ(token[begin], data.special.cls);
  EXPECT_THAT(numbers(micro.batch.position_T.narrow(0, 0, 10)),
              ElementsAre(0, 1, 2, 0, 1, 2, 3, 0, 1, 2));
}

struct EncoderRun {
  explicit EncoderRun(const config::Config& config)
      : communicator(comm::make_self_communicator()),
        groups(*communicator, 1),
        encoder(config.model, config.data.sequence_length,
                ops::precision_policy(config.train.precision, at::kCPU)),
        objective(encoder, tiny_masks(config.data.sequence_length)) {
    encoder.initialize(config.run.seed);
    trainer = std::make_unique<Trainer>(config, encoder, objective, groups);
  }
  std::unique_ptr<comm::Communicator> communicator;
  parallel::RankGroups groups;
  model::Encoder encoder;
  MaskedLanguageObjective objective;
  std::unique_ptr<Trainer> trainer;
};

config::Config encoder_config(const std::string& precision = "fp32") {
  config::Config config = tiny_config(precision);
  config.model.type = "encoder";
  config.model.vocab_size = kTinyVocab + data::SpecialTokens::kCount;
  return config;
}

TEST(MaskedLanguage, LearnsToGuessAndTakesTheMeanOverMaskedPositions) {
  config::Config config = encoder_config();
  config.train.steps = 150;
  EncoderRun run(config);
  const double first = run.trainer->train_step().lm_loss;
  // Nothing is known at first: log of the vocabulary per masked position.
  EXPECT_NEAR(first, std::log(static_cast<double>(config.model.vocab_size)), 0.3);
  double last = 0.0;
  for (int step = 1; step < 150; ++step) last = run.trainer->train_step().lm_loss;
  EXPECT_LT(last, 0.9 * first);
}

TEST(MaskedLanguage, TheStepDoesNotDependOnHowItIsCutIntoMicroBatches) {
  config::Config config = encoder_config("fp64");
  config.model.moe.loss.scope = "sequence";
  EncoderRun whole(config);
  config.train.micro_batch_size = 2;
  EncoderRun cut(config);
  for (int step = 0; step < 3; ++step) {
    const telemetry::StepSums a = whole.trainer->train_step();
    const telemetry::StepSums b = cut.trainer->train_step();
    EXPECT_NEAR(a.lm_loss, b.lm_loss, 1e-12 * a.lm_loss);
    EXPECT_NEAR(a.grad_norm, b.grad_norm, 1e-10 * a.grad_norm);
  }
}

class MaskedPretrain : public ::testing::Test {
 protected:
  MaskedPretrain() {
    config_.model.type = "encoder";
    config_.train.sample_prompt.clear();
    config_.train.evaluate_every = 10;
  }
  TinyRunFolder tiny_;
  config::Config& config_ = tiny_.config;
};

TEST_F(MaskedPretrain, RunsWithTheSameVerbAndIsJudgedByPseudoPerplexity) {
  const RunResult result = pretrain(config_);
  EXPECT_EQ(result.num_tokens, 20 * 8 * 16);
  ASSERT_TRUE(result.evaluation.has_value());
  EXPECT_DOUBLE_EQ(result.evaluation->perplexity.value(), std::exp(result.evaluation->loss));
  EXPECT_FALSE(result.evaluation->bits_per_byte.has_value());
  EXPECT_LT(result.evaluation->loss, std::log(257.0));
  EXPECT_GE(result.evaluation->experts_per_token.value(), 1.0);
  // 16 - 2 tokens a window, of which 2 are masked.
  EXPECT_EQ(result.evaluation->tokens % 2, 0);
  EXPECT_FALSE(std::filesystem::exists(tiny_.folder / "run/samples/step-000020.txt"));
}

TEST_F(MaskedPretrain, IsEvaluatedOnMasksThatDoNotDependOnTheRun) {
  config_.optim.learning_rate = 0.0;
  const double one = pretrain(config_).evaluation->loss;
  // The seed draws weights, too: two runs of one seed, one of them at another step.
  config_.run.dir = (tiny_.folder / "other").string();
  config_.train.steps = 1;
  EXPECT_EQ(pretrain(config_).evaluation->loss, one);
}

// Seven passes of one window: by two ranks and by three, the last round is not everybody's turn.
TEST_F(MaskedPretrain, IsEvaluatedByRanksToTheSameBitsAsByOne) {
  config_.train.micro_batch_size = 1;
  config_.train.evaluate_tokens = 7 * config_.data.sequence_length;
  config_.model.init_std = 0.5;  // tokens get different numbers of experts before any training
  config_.model.moe.router = config::RouterConfig(config::AttentionImportanceOptions{});
  std::optional<telemetry::EvaluationRecord> alone;
  for (const std::int64_t num_ranks : {1, 2, 3}) {
    comm::run_ranks(num_ranks, [&](comm::Communicator& world) {
      SCOPED_TRACE(fmt::format("rank {} of {}", world.rank(), num_ranks));
      const Build parts = build(config_);
      RunRanks ranks(world);
      MaskedLanguageTask task(parts.config, *parts.encoder, parts.training, &*parts.validation);
      const auto record = task.evaluate({.step = 0, .ranks = ranks.share()});
      ASSERT_TRUE(record.has_value());
      if (num_ranks == 1) alone = record;
      EXPECT_EQ(record->loss, alone->loss);
      EXPECT_EQ(record->tokens, alone->tokens);
      EXPECT_EQ(record->experts_per_token, alone->experts_per_token);
    });
  }
  EXPECT_EQ(alone->tokens, 7 * 2) << "15 % of 14 tokens a window";
  EXPECT_GT(alone->loss, 0.0);
}

TEST_F(MaskedPretrain, OnTwoRanksEndsWithTheEvaluationOfOne) {
  config_.train.precision = "fp64";
  config_.train.steps = 4;
  config_.train.evaluate_tokens = 7 * config_.data.sequence_length;
  config_.model.dropout = 0.1;
  config_.model.moe.router = config::RouterConfig(config::AttentionImportanceOptions{});
  std::optional<telemetry::EvaluationRecord> alone;
  for (const std::int64_t num_ranks : {1, 2}) {
    config_.run.dir = (tiny_.folder / fmt::format("on-{}", num_ranks)).string();
    config_.train.micro_batch_size = 4 / num_ranks;  // load balance is of all ranks' together
    std::vector<RunResult> results(static_cast<std::size_t>(num_ranks));
    comm::run_ranks(num_ranks, [&](comm::Communicator& world) {
      results[static_cast<std::size_t>(world.rank())] = pretrain(config_, world);
    });
    for (const RunResult& result : results) {
      ASSERT_TRUE(result.evaluation.has_value());
      EXPECT_EQ(result.evaluation->loss, results[0].evaluation->loss) << "the same bits on all";
    }
    if (num_ranks == 1) alone = results[0].evaluation;
    const telemetry::EvaluationRecord& record = *results[0].evaluation;
    EXPECT_NEAR(record.loss, alone->loss, 1e-10 * alone->loss);
    EXPECT_EQ(record.tokens, alone->tokens);
    EXPECT_EQ(record.experts_per_token, alone->experts_per_token);
  }
}

TEST_F(MaskedPretrain, GivesWholeWordsWhenAsked) {
  config_.data.mask_whole_words = true;
  config_.data.mask_rate = 0.4;
  config_.train.steps = 2;
  EXPECT_TRUE(pretrain(config_).evaluation.has_value());
}

TEST_F(MaskedPretrain, ItsCheckpointNeitherWritesNorPredictsText) {
  config_.train.steps = 1;
  (void)pretrain(config_);
  try {
    (void)load_model(tiny_.folder / "run");
    FAIL() << "an encoder was loaded as a decoder";
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(), HasSubstr("encoder"));
    EXPECT_THAT(error.hint(), HasSubstr("switchyard finetune"));
  }
}

TEST_F(MaskedPretrain, RefusesAVocabularyWithoutRoomForSpecialTokens) {
  config_.model.vocab_size = 259;  // 257 pieces and 3
  EXPECT_THROW((void)pretrain(config_), UsageError);
}

}  // namespace
}  // namespace switchyard::train
