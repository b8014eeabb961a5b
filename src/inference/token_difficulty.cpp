#include "switchyard/inference/token_difficulty.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "switchyard/core/error.h"
#include "switchyard/data/masking.h"

namespace switchyard::inference {
namespace {

constexpr std::int64_t kMostUnits = 1 << 16;
constexpr double kBinsPerOctave = 16.0;

}  // namespace

std::int64_t loss_units(double nats) {
  const double units = std::round(nats * kLossUnitsPerNat);
  return static_cast<std::int64_t>(std::clamp(units, 0.0, static_cast<double>(kMostUnits)));
}

std::int64_t loss_bin(std::int64_t units) {
  if (units == 0) return 0;
  return 1 + static_cast<std::int64_t>(kBinsPerOctave * std::log2(static_cast<double>(units)));
}

double loss_bin_begin(std::int64_t bin) {
  if (bin == 0) return 0.0;
  const double units = std::exp2(static_cast<double>(bin - 1) / kBinsPerOctave);
  return std::min(units, static_cast<double>(kMostUnits)) / kLossUnitsPerNat;
}

std::vector<std::int64_t> positions_in_word(const model::Batch& batch,
                                            const data::Tokenizer& tokenizer) {
  const auto* token = batch.token_T.const_data_ptr<std::int64_t>();
  std::vector<std::int64_t> position_T(static_cast<std::size_t>(batch.num_tokens()));
  for (std::size_t s = 0; s + 1 < batch.sequence_offset.size(); ++s) {
    const auto begin = static_cast<std::size_t>(batch.sequence_offset[s]);
    const auto end = static_cast<std::size_t>(batch.sequence_offset[s + 1]);
    const std::vector<std::int32_t> sequence(token + begin, token + end);
    const std::vector<bool> starts = data::word_starts(sequence, tokenizer);
    for (std::size_t t = begin; t < end; ++t) {
      // What was before a window is not known: only a separator, or white space of the token's own,
      // says that it was nothing of the word.
      const bool begins = t == begin ? sequence[0] == tokenizer.separator_id() ||
                                           data::begins_with_space(sequence[0], tokenizer)
                                     : starts[t - begin];
      const std::int64_t before = t == begin ? 0 : position_T[t - 1];
      position_T[t] = begins ? 1 : before + (before > 0 ? 1 : 0);
    }
  }
  return position_T;
}

TokenDifficulty::TokenDifficulty(std::int64_t vocab_size, std::int64_t num_experts,
                                 std::vector<std::int64_t> layers)
    : num_experts_(num_experts), layers_(std::move(layers)) {
  if (layers_.empty()) return;
  prediction_ = reserve_losses();
  input_ = reserve_losses();
  word_ = reserve_groups(kWordPositions);
  piece_ = reserve_groups(vocab_size);
}

std::size_t TokenDifficulty::reserve(std::size_t num_cells) {
  const std::size_t begin = cells_.size();
  cells_.resize(begin + num_cells);
  return begin;
}

// One layer, or from 0 to all experts of all layers.
std::int64_t TokenDifficulty::num_k(std::size_t column) const {
  return (column < layers_.size() ? 1 : std::ssize(layers_)) * num_experts_ + 1;
}

TokenDifficulty::LossesAt TokenDifficulty::reserve_losses() {
  LossesAt at{.units = reserve(kLossBins), .square = reserve(1)};
  for (std::size_t column = 0; column <= layers_.size(); ++column) {
    at.count.push_back(reserve(static_cast<std::size_t>(kLossBins * num_k(column))));
    at.products.push_back(reserve(1));
  }
  return at;
}

TokenDifficulty::GroupsAt TokenDifficulty::reserve_groups(std::int64_t num_groups) {
  const auto size = static_cast<std::size_t>(num_groups);
  return {.begin = reserve(size * (GroupsAt::kSums + layers_.size())), .num_groups = size};
}

void TokenDifficulty::count(const LossesAt& at, std::int64_t units,
                            std::span<const std::int64_t> k_C) {
  const std::int64_t bin = loss_bin(units);
  cells_[at.units + static_cast<std::size_t>(bin)] += units;
  cells_[at.square] += units * units;
  for (std::size_t column = 0; column < k_C.size(); ++column) {
    const std::int64_t k = k_C[column];
    ++cells_[at.count[column] + static_cast<std::size_t>(bin * num_k(column) + k)];
    cells_[at.products[column]] += units * k;
  }
}

void TokenDifficulty::count(const GroupsAt& at, std::int64_t group, std::int64_t units,
                            std::span<const std::int64_t> k_C) {
  const std::int64_t k_all = k_C.back();
  std::size_t cell = at.begin + static_cast<std::size_t>(group);
  for (const std::int64_t addend :
       {std::int64_t{1}, units, units * units, k_all * k_all, units * k_all}) {
    cells_[cell] += addend;
    cell += at.num_groups;
  }
  for (const std::int64_t k : k_C.first(layers_.size())) {
    cells_[cell] += k;
    cell += at.num_groups;
  }
}

void TokenDifficulty::add(const model::Batch& batch, const TokenLosses& losses,
                          const data::Tokenizer& tokenizer) {
  if (layers_.empty()) return;
  const std::int64_t num_tokens = batch.num_tokens();
  SWITCHYARD_CHECK(losses.num_experts_LT.size(0) == std::ssize(layers_) &&
                       losses.num_experts_LT.size(1) == num_tokens &&
                       losses.loss_T.numel() == num_tokens,
                   "losses of {} tokens for a batch of {}", losses.loss_T.numel(), num_tokens);
  const auto* label = batch.label_T.const_data_ptr<std::int64_t>();
  const auto* token = batch.token_T.const_data_ptr<std::int64_t>();
  const auto* loss = losses.loss_T.const_data_ptr<double>();
  const auto* num_experts = losses.num_experts_LT.const_data_ptr<std::int32_t>();
  const auto is_counted = [&](std::int64_t t) { return label[t] >= 0 && std::isfinite(loss[t]); };
  const std::vector<std::int64_t> position_T = positions_in_word(batch, tokenizer);
  std::vector<std::int64_t> k_C(layers_.size() + 1);
  const auto k_L = std::span(k_C).first(layers_.size());
  std::size_t sequence = 0;
  for (std::int64_t t = 0; t < num_tokens; ++t) {
    if (t == batch.sequence_offset[sequence + 1]) ++sequence;
    if (!is_counted(t)) continue;
    for (std::size_t l = 0; l < k_L.size(); ++l) {
      k_L[l] = num_experts[static_cast<std::int64_t>(l) * num_tokens + t];
    }
    k_C.back() = std::reduce(k_L.begin(), k_L.end());
    const std::int64_t units = loss_units(loss[t]);
    count(prediction_, units, k_C);
    if (t > batch.sequence_offset[sequence] && is_counted(t - 1)) {
      count(input_, loss_units(loss[t - 1]), k_C);
    }
    if (const std::int64_t position = position_T[static_cast<std::size_t>(t)]; position > 0) {
      count(word_, std::min(position, kWordPositions) - 1, units, k_C);
    }
    count(piece_, token[t], units, k_C);
  }
}

void TokenDifficulty::sum_over(const RankShare& ranks) {
  if (!ranks.sum || cells_.empty()) return;
  at::Tensor sum = at::empty({std::ssize(cells_)}, at::kLong);
  auto* const cell = sum.mutable_data_ptr<std::int64_t>();
  std::copy(cells_.begin(), cells_.end(), cell);
  ranks.sum(sum);
  std::copy(cell, cell + cells_.size(), cells_.begin());
}

std::span<const std::int64_t> TokenDifficulty::cells(std::size_t begin, std::size_t size) const {
  return std::span(cells_).subspan(begin, size);
}

TokenDifficulty::Losses TokenDifficulty::losses(const LossesAt& at) const {
  if (layers_.empty()) return {};
  Losses losses{.units_B = cells(at.units, kLossBins), .square_units = cells_[at.square]};
  for (std::size_t column = 0; column < at.count.size(); ++column) {
    const auto size = static_cast<std::size_t>(kLossBins * num_k(column));
    losses.experts.push_back({.num_k = num_k(column),
                              .count_BK = cells(at.count[column], size),
                              .units_times_k = cells_[at.products[column]]});
  }
  return losses;
}

TokenDifficulty::Groups TokenDifficulty::groups(const GroupsAt& at) const {
  const std::size_t size = at.num_groups;
  return {.num_tokens_G = cells(at.begin, size),
          .units_G = cells(at.begin + size, size),
          .square_units_G = cells(at.begin + 2 * size, size),
          .square_k_G = cells(at.begin + 3 * size, size),
          .units_times_k_G = cells(at.begin + 4 * size, size),
          .num_rows_LG = cells(at.begin + GroupsAt::kSums * size, size * layers_.size())};
}

}  // namespace switchyard::inference
