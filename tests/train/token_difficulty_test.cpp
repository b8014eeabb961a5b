#include "switchyard/train/token_difficulty.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <string>
#include <vector>

#include "support/tiny_model.h"
#include "switchyard/config/routers/top_k.h"
#include "switchyard/inference/evaluate.h"
#include "switchyard/model/decoder.h"

namespace switchyard::train {
namespace {

using inference::TokenDifficulty;
using ::testing::DoubleNear;
using ::testing::ElementsAre;

double pearson(const std::vector<double>& x, const std::vector<double>& y) {
  const auto num = static_cast<double>(x.size());
  const double mean_x = std::reduce(x.begin(), x.end()) / num;
  const double mean_y = std::reduce(y.begin(), y.end()) / num;
  double xy = 0.0;
  double xx = 0.0;
  double yy = 0.0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    xy += (x[i] - mean_x) * (y[i] - mean_y);
    xx += (x[i] - mean_x) * (x[i] - mean_x);
    yy += (y[i] - mean_y) * (y[i] - mean_y);
  }
  return xy / std::sqrt(xx * yy);
}

// Places in the order, the middle of them for those that are equal.
std::vector<double> ranks(const std::vector<double>& values) {
  std::vector<double> rank;
  for (const double value : values) {
    const auto below = std::count_if(values.begin(), values.end(),
                                     [value](double other) { return other < value; });
    const auto equal = std::count(values.begin(), values.end(), value);
    rank.push_back(static_cast<double>(below) + static_cast<double>(equal) / 2.0);
  }
  return rank;
}

std::string some_text() {
  std::string text;
  for (int i = 0; text.size() < 900; ++i) {
    text += "it was the " + std::to_string(i * i * 7919 % 1000) + "th of the days, ";
  }
  return text.substr(0, 900);
}

// A byte-level decoder with experts in both layers that sees the whole text at once.
class DifficultyOfATinyModel : public ::testing::Test {
 protected:
  static constexpr std::int64_t kWindow = 1024;

  DifficultyOfATinyModel() {
    config_.data.sequence_length = kWindow;
    config_.model.vocab_size = tokenizer_.vocab_size();
    config_.model.init_std = 0.2;
    config_.model.moe.layers = {0, 1};
  }

  [[nodiscard]] inference::TextEvaluation evaluate(std::int64_t tokens_per_pass = 4096) {
    model::Decoder decoder(config_.model, kWindow, ops::precision_policy("fp64"));
    decoder.initialize(3);
    return inference::evaluate_text(
        decoder, tokenizer_, some_text(),
        {.sequence_length = window_, .tokens_per_pass = tokens_per_pass});
  }

  // One forward pass over everything.
  void look_at_every_token() {
    model::Decoder decoder(config_.model, kWindow, ops::precision_policy("fp64"));
    decoder.initialize(3);
    token_ = tokenizer_.encode(some_text());
    token_.insert(token_.begin(), *tokenizer_.separator_id());
    const std::vector<data::Sample> windows{{.token = token_, .document_start = {}}};
    const model::Batch batch = inference::make_batch(windows, {}).batch;
    const at::NoGradGuard no_grad;
    const model::TrunkOutput output = decoder.forward(batch, {});
    const at::Tensor loss_T = decoder.head().loss_per_token(output.hidden_TH, batch.label_T);
    for (std::int64_t t = 0; t < loss_T.numel(); ++t) loss_.push_back(loss_T[t].item<double>());
    for (const model::LayerRoute& route : output.routes) {
      std::vector<double>& k = k_.emplace_back();
      const at::Tensor k_T = route.routing.token_offset_T1.diff();
      for (std::int64_t t = 0; t < k_T.numel(); ++t) k.push_back(k_T[t].item<double>());
    }
    for (std::size_t t = 0; t < loss_.size(); ++t) k_all_.push_back(k_[0][t] + k_[1][t]);
  }

  config::Config config_ = testing::tiny_config("fp64");
  data::Tokenizer tokenizer_ = data::Tokenizer::byte_level();
  std::int64_t window_ = kWindow;
  std::vector<std::int32_t> token_;
  std::vector<double> loss_;
  std::vector<std::vector<double>> k_;
  std::vector<double> k_all_;
};

TEST_F(DifficultyOfATinyModel, CorrelatesExpertsAndLossAsANaiveComputationDoes) {
  const auto record = summarize_difficulty(evaluate().difficulty);
  ASSERT_TRUE(record.has_value());
  look_at_every_token();
  const auto expect_both = [](const telemetry::LossCorrelation& got,
                              const std::vector<double>& loss, const std::vector<double>& k) {
    EXPECT_NEAR(got.pearson.value(), pearson(loss, k), 1e-3);
    EXPECT_NEAR(got.spearman.value(), pearson(ranks(loss), ranks(k)), 0.01);
    std::vector<double> bin;
    for (const double nats : loss) {
      bin.push_back(static_cast<double>(inference::loss_bin(inference::loss_units(nats))));
    }
    EXPECT_NEAR(got.spearman.value(), pearson(ranks(bin), ranks(k)), 1e-9);
  };
  const auto expect_all = [&](const telemetry::ExpertsByDifficulty& got,
                              const std::vector<double>& k) {
    expect_both(got.with_loss, loss_, k);
    // The loss of the token itself is that of the position before.
    expect_both(got.with_input_loss, {loss_.begin(), loss_.end() - 1}, {k.begin() + 1, k.end()});
  };
  ASSERT_THAT(record->layers, ElementsAre(0, 1));
  expect_all(record->by_layer[0], k_[0]);
  expect_all(record->by_layer[1], k_[1]);
  expect_all(record->all, k_all_);
  EXPECT_GT(
      std::abs(record->all.with_loss.pearson.value() - record->all.with_input_loss.pearson.value()),
      0.02)
      << "two different questions";
}

TEST_F(DifficultyOfATinyModel, TenthsAreOfTheTokensInTheOrderOfTheirLoss) {
  const auto record = summarize_difficulty(evaluate().difficulty);
  ASSERT_TRUE(record.has_value());
  look_at_every_token();
  std::int64_t num_tokens = 0;
  double last_to = 0.0;
  ASSERT_GE(record->by_loss.size(), 5U);  // whole bins: tenths where losses are spread enough
  for (const telemetry::TokenGroup& group : record->by_loss) {
    EXPECT_GE(group.from, last_to);
    last_to = group.to;
    double loss = 0.0;
    std::vector<double> k(2);
    std::int64_t num = 0;
    for (std::size_t t = 0; t < loss_.size(); ++t) {
      const double nats = std::round(loss_[t] * 1024.0) / 1024.0;
      if (!(nats >= group.from * (1 - 1e-9) && nats < group.to * (1 - 1e-9))) continue;
      ++num;
      loss += loss_[t];
      for (std::size_t layer = 0; layer < 2; ++layer) k[layer] += k_[layer][t];
    }
    ASSERT_EQ(group.tokens, num);
    num_tokens += num;
    const auto count = static_cast<double>(num);
    EXPECT_NEAR(group.loss, loss / count, 1e-3);
    EXPECT_THAT(group.experts_per_token,
                ElementsAre(DoubleNear(k[0] / count, 1e-12), DoubleNear(k[1] / count, 1e-12)));
  }
  EXPECT_EQ(num_tokens, std::ssize(loss_));
}

TEST_F(DifficultyOfATinyModel, GroupsByPlaceInTheWordAndByHowOftenAPieceOccurs) {
  const auto record = summarize_difficulty(evaluate().difficulty);
  ASSERT_TRUE(record.has_value());
  look_at_every_token();
  std::map<std::int32_t, int> times;
  for (std::size_t t = 0; t < loss_.size(); ++t) ++times[token_[t]];
  struct Tokens {
    std::vector<double> loss;
    std::vector<double> k;      // of layer 1
    std::vector<double> k_all;  // of both
  };
  std::map<int, Tokens> of_place;  // 1 to 4
  std::map<int, Tokens> of_decade;
  int place = 1;
  for (std::size_t t = 0; t < loss_.size(); ++t) {
    const bool begins = t < 2 || token_[t] == ' ' || token_[t - 1] == ' ';
    place = begins ? 1 : place + 1;
    for (Tokens* group : {&of_place[std::min(place, 4)],
                          &of_decade[static_cast<int>(std::log10(times[token_[t]]))]}) {
      group->loss.push_back(loss_[t]);
      group->k.push_back(k_[1][t]);
      group->k_all.push_back(k_all_[t]);
    }
  }
  const auto expect_groups = [](const std::vector<telemetry::TokenGroup>& groups,
                                const std::map<int, Tokens>& expected) {
    ASSERT_EQ(groups.size(), expected.size());
    auto group = groups.begin();
    for (const auto& [key, tokens] : expected) {
      EXPECT_EQ(group->tokens, std::ssize(tokens.k)) << key;
      const double mean =
          std::reduce(tokens.k.begin(), tokens.k.end()) / static_cast<double>(tokens.k.size());
      EXPECT_NEAR(group->experts_per_token.at(1), mean, 1e-12) << key;
      const double correlation = pearson(tokens.loss, tokens.k_all);
      ASSERT_EQ(group->pearson.has_value(), std::isfinite(correlation)) << key;
      if (group->pearson) {
        EXPECT_NEAR(*group->pearson, correlation, 2e-3) << key;
      }
      ++group;
    }
  };
  expect_groups(record->by_word_position, of_place);
  expect_groups(record->by_frequency, of_decade);
  EXPECT_TRUE(record->by_word_position[0].pearson.has_value());
  EXPECT_EQ(record->by_word_position[0].from, 1.0);
  EXPECT_TRUE(std::isinf(record->by_word_position[3].to));
  EXPECT_EQ(record->by_frequency[1].from, 10.0);
  EXPECT_EQ(record->by_frequency[1].to, 99.0);
}

TEST_F(DifficultyOfATinyModel, DoesNotDependOnThePasses) {
  window_ = 32;
  const auto text_of = [](const inference::TextEvaluation& evaluation) {
    return to_json(summarize_difficulty(evaluation.difficulty).value()).dump();
  };
  EXPECT_EQ(text_of(evaluate(32)), text_of(evaluate(4096)));
}

TEST_F(DifficultyOfATinyModel, IsNothingToTellWhereAllTokensGetAsManyExperts) {
  config_.model.moe.router = config::RouterConfig(config::TopKOptions{.k = 2});
  EXPECT_EQ(summarize_difficulty(evaluate().difficulty), std::nullopt);
  config_.model.moe.num_experts = 0;
  config_.model.moe.layers.clear();
  EXPECT_EQ(summarize_difficulty(evaluate().difficulty), std::nullopt);
}

TEST(SummarizeDifficulty, IsWithoutCorrelationWhereOneLayersTokensGetAsMany) {
  TokenDifficulty counts(257, 4, {0, 1});
  const std::vector<data::Sample> windows{{.token = {1, 2, 3, 4, 5}, .document_start = {}}};
  const model::Batch batch = inference::make_batch(windows, {}).batch;
  counts.add(batch,
             {.loss_T = at::tensor({0.5, 1.0, 2.0, 4.0}, at::kDouble),
              .num_experts_LT = at::tensor({2, 2, 2, 2, 1, 2, 3, 4}, at::kInt).view({2, 4})},
             data::Tokenizer::byte_level());
  const auto record = summarize_difficulty(counts);
  ASSERT_TRUE(record.has_value());
  EXPECT_EQ(record->by_layer[0].with_loss.spearman, std::nullopt);
  EXPECT_EQ(record->by_layer[0].with_loss.pearson, std::nullopt);
  EXPECT_DOUBLE_EQ(record->by_layer[1].with_loss.spearman.value(), 1.0);
  EXPECT_LT(record->by_layer[1].with_loss.pearson.value(), 0.99);  // no straight line
  EXPECT_DOUBLE_EQ(record->all.with_loss.spearman.value(), 1.0);
}

}  // namespace
}  // namespace switchyard::train
