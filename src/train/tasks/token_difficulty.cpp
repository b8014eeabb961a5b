#include "switchyard/train/token_difficulty.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <span>
#include <vector>

namespace switchyard::train {
namespace {

using inference::kLossBins;
using inference::kLossUnitsPerNat;
using inference::TokenDifficulty;
using telemetry::LossCorrelation;
using telemetry::TokenGroup;

constexpr std::int64_t kTenths = 10;

double as_double(std::int64_t value) {
  return static_cast<double>(value);
}

// Tokens by number of experts.
std::vector<std::int64_t> k_histogram(const TokenDifficulty::Experts& experts) {
  std::vector<std::int64_t> count_K(static_cast<std::size_t>(experts.num_k));
  for (std::size_t cell = 0; cell < experts.count_BK.size(); ++cell) {
    count_K[cell % count_K.size()] += experts.count_BK[cell];
  }
  return count_K;
}

std::vector<std::int64_t> loss_histogram(const TokenDifficulty::Experts& experts) {
  std::vector<std::int64_t> count_B(static_cast<std::size_t>(kLossBins));
  const auto num_k = static_cast<std::size_t>(experts.num_k);
  for (std::size_t cell = 0; cell < experts.count_BK.size(); ++cell) {
    count_B[cell / num_k] += experts.count_BK[cell];
  }
  return count_B;
}

// Are there two with tokens?
bool varies(std::span<const std::int64_t> histogram) {
  return std::count_if(histogram.begin(), histogram.end(),
                       [](std::int64_t count) { return count > 0; }) > 1;
}

// Sums over tokens of two numbers that each has.
struct Moments {
  double num = 0.0;
  double x = 0.0;
  double y = 0.0;
  double xx = 0.0;
  double yy = 0.0;
  double xy = 0.0;

  [[nodiscard]] std::optional<double> correlation() const {
    const double of_x = num * xx - x * x;
    const double of_y = num * yy - y * y;
    if (!(of_x > 0.0 && of_y > 0.0)) return std::nullopt;
    return std::clamp((num * xy - x * y) / std::sqrt(of_x * of_y), -1.0, 1.0);
  }
};

// The middle of the places that those of each class share, counted from that of the median.
std::vector<double> ranks(std::span<const std::int64_t> histogram) {
  const double num = as_double(std::reduce(histogram.begin(), histogram.end()));
  std::vector<double> rank;
  double before = 0.0;
  for (const std::int64_t count : histogram) {
    rank.push_back(before + (as_double(count) - num) / 2.0);
    before += as_double(count);
  }
  return rank;
}

LossCorrelation correlation(const TokenDifficulty::Losses& losses,
                            const TokenDifficulty::Experts& experts) {
  const std::vector<std::int64_t> count_K = k_histogram(experts);
  const std::vector<std::int64_t> count_B = loss_histogram(experts);
  if (!varies(count_K)) return {};
  Moments of_values{.num = as_double(std::reduce(count_K.begin(), count_K.end())),
                    .x = as_double(std::reduce(losses.units_B.begin(), losses.units_B.end())),
                    .xx = as_double(losses.square_units),
                    .xy = as_double(experts.units_times_k)};
  for (std::size_t k = 0; k < count_K.size(); ++k) {
    of_values.y += as_double(count_K[k]) * static_cast<double>(k);
    of_values.yy += as_double(count_K[k]) * static_cast<double>(k * k);
  }
  const std::vector<double> rank_K = ranks(count_K);
  const std::vector<double> rank_B = ranks(count_B);
  Moments of_ranks{.num = of_values.num};
  for (std::size_t bin = 0; bin < count_B.size(); ++bin) {
    if (count_B[bin] == 0) continue;
    of_ranks.xx += as_double(count_B[bin]) * rank_B[bin] * rank_B[bin];
    for (std::size_t k = 0; k < count_K.size(); ++k) {
      const double count = as_double(experts.count_BK[bin * count_K.size() + k]);
      of_ranks.xy += count * rank_B[bin] * rank_K[k];
    }
  }
  for (std::size_t k = 0; k < count_K.size(); ++k) {
    of_ranks.yy += as_double(count_K[k]) * rank_K[k] * rank_K[k];
  }
  return {.pearson = of_values.correlation(), .spearman = of_ranks.correlation()};
}

// Whole bins of losses, put together to groups of about a tenth of the tokens.
std::vector<TokenGroup> by_loss(const TokenDifficulty::Losses& losses, std::size_t num_layers) {
  const std::vector<std::int64_t> count_B = loss_histogram(losses.experts.back());
  const std::int64_t num_tokens = std::reduce(count_B.begin(), count_B.end());
  std::vector<TokenGroup> groups;
  std::int64_t last_tenth = -1;
  std::int64_t before = 0;
  for (std::size_t bin = 0; bin < count_B.size(); ++bin) {
    const std::int64_t count = count_B[bin];
    if (count == 0) continue;
    // By its middle.
    const std::int64_t tenth = kTenths * (2 * before + count) / (2 * num_tokens);
    before += count;
    const auto idx = static_cast<std::int64_t>(bin);
    if (tenth != last_tenth) {
      groups.push_back({.from = inference::loss_bin_begin(idx),
                        .experts_per_token = std::vector<double>(num_layers)});
    }
    last_tenth = tenth;
    TokenGroup& group = groups.back();
    group.to = inference::loss_bin_begin(idx + 1);
    group.tokens += count;
    group.loss += as_double(losses.units_B[bin]);
    for (std::size_t layer = 0; layer < num_layers; ++layer) {
      const TokenDifficulty::Experts& experts = losses.experts[layer];
      for (std::int64_t k = 0; k < experts.num_k; ++k) {
        const std::int64_t cell = idx * experts.num_k + k;
        group.experts_per_token[layer] +=
            as_double(k * experts.count_BK[static_cast<std::size_t>(cell)]);
      }
    }
  }
  return groups;
}

struct SummedGroup {
  TokenGroup group;  // with sums in the place of means
  Moments of_all_layers = {};
};

// Adds what is counted of `class_idx`.
void add(SummedGroup& sums, const TokenDifficulty::Groups& counts, std::size_t class_idx) {
  TokenGroup& group = sums.group;
  Moments& moments = sums.of_all_layers;
  group.tokens += counts.num_tokens_G[class_idx];
  group.loss += as_double(counts.units_G[class_idx]);
  moments.num += as_double(counts.num_tokens_G[class_idx]);
  moments.x += as_double(counts.units_G[class_idx]);
  moments.xx += as_double(counts.square_units_G[class_idx]);
  moments.yy += as_double(counts.square_k_G[class_idx]);
  moments.xy += as_double(counts.units_times_k_G[class_idx]);
  for (std::size_t layer = 0; layer < group.experts_per_token.size(); ++layer) {
    const double num_rows =
        as_double(counts.num_rows_LG[layer * counts.num_tokens_G.size() + class_idx]);
    group.experts_per_token[layer] += num_rows;
    moments.y += num_rows;
  }
}

std::vector<TokenGroup> with_correlation(const std::vector<SummedGroup>& summed) {
  std::vector<TokenGroup> groups;
  for (const SummedGroup& sums : summed) {
    groups.push_back(sums.group);
    groups.back().pearson = sums.of_all_layers.correlation();
  }
  return groups;
}

std::vector<TokenGroup> by_word_position(const TokenDifficulty::Groups& counts,
                                         std::size_t num_layers) {
  std::vector<SummedGroup> groups;
  const std::size_t num = counts.num_tokens_G.size();
  for (std::size_t i = 0; i < num; ++i) {
    const double place = static_cast<double>(i) + 1.0;
    groups.push_back({.group = {.from = place,
                                .to = i + 1 < num ? place : std::numeric_limits<double>::infinity(),
                                .experts_per_token = std::vector<double>(num_layers)}});
    add(groups.back(), counts, i);
  }
  return with_correlation(groups);
}

// Pieces that occur 1 to 9 times, 10 to 99 times, ...
std::vector<TokenGroup> by_frequency(const TokenDifficulty::Groups& counts,
                                     std::size_t num_layers) {
  std::vector<SummedGroup> groups;
  for (std::size_t piece = 0; piece < counts.num_tokens_G.size(); ++piece) {
    std::size_t digits = 0;
    for (std::int64_t rest = counts.num_tokens_G[piece]; rest > 0; rest /= 10) ++digits;
    if (digits == 0) continue;
    while (groups.size() < digits) {
      const double from = std::pow(10.0, static_cast<double>(groups.size()));
      groups.push_back({.group = {.from = from,
                                  .to = 10.0 * from - 1.0,
                                  .experts_per_token = std::vector<double>(num_layers)}});
    }
    add(groups[digits - 1], counts, piece);
  }
  return with_correlation(groups);
}

// Sums to means; groups without a token go.
std::vector<TokenGroup> means(std::vector<TokenGroup> groups) {
  std::erase_if(groups, [](const TokenGroup& group) { return group.tokens == 0; });
  for (TokenGroup& group : groups) {
    const double num_tokens = as_double(group.tokens);
    group.loss /= num_tokens * kLossUnitsPerNat;
    for (double& k : group.experts_per_token) k /= num_tokens;
  }
  return groups;
}

}  // namespace

std::optional<telemetry::DifficultyRecord> summarize_difficulty(const TokenDifficulty& counts) {
  const TokenDifficulty::Losses of_prediction = counts.of_prediction();
  const TokenDifficulty::Losses of_input = counts.of_input();
  const std::size_t num_layers = counts.layers().size();
  const auto layers = std::span(of_prediction.experts).first(num_layers);
  const bool any_varies = std::any_of(layers.begin(), layers.end(), [](const auto& experts) {
    return varies(k_histogram(experts));
  });
  if (!any_varies) return std::nullopt;
  const auto of_column = [&](std::size_t column) {
    return telemetry::ExpertsByDifficulty{
        .with_loss = correlation(of_prediction, of_prediction.experts[column]),
        .with_input_loss = correlation(of_input, of_input.experts[column])};
  };
  telemetry::DifficultyRecord record{
      .all = of_column(num_layers),
      .layers = counts.layers(),
      .by_loss = means(by_loss(of_prediction, num_layers)),
      .by_word_position = means(by_word_position(counts.by_word_position(), num_layers)),
      .by_frequency = means(by_frequency(counts.by_piece(), num_layers))};
  for (std::size_t layer = 0; layer < num_layers; ++layer) {
    record.by_layer.push_back(of_column(layer));
  }
  return record;
}

}  // namespace switchyard::train
