// Do harder tokens get more experts? What an evaluation counts to tell: how many experts each MoE
// layer gave a token, beside how hard the token was.
//
// The experts at a position work on predicting the next token: the loss they are set beside is that
// of the label there. How hard the token itself was to predict, its *input loss*, is the loss one
// position earlier.
//
// All counts are whole numbers, losses rounded to 1/1024 nat: sums over passes and ranks are exact,
// and in any order the same.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "switchyard/data/tokenizer.h"
#include "switchyard/inference/rank_share.h"
#include "switchyard/model/batch.h"

namespace switchyard::inference {

// Of the tokens of one forward pass, on the host.
struct TokenLosses {
  at::Tensor loss_T;          // [T] fp64, nats of the label; 0 without one
  at::Tensor num_experts_LT;  // [L, T] int32, of the MoE layers, ascending
};

inline constexpr double kLossUnitsPerNat = 1024.0;
// Bin 0 is a loss of 0 units, the others are a sixteenth of an octave (4 %) wide; what is above 64
// nats counts as 64.
inline constexpr std::int64_t kLossBins = 258;
// [0, 65536]; `nats` must be finite.
[[nodiscard]] std::int64_t loss_units(double nats);
[[nodiscard]] std::int64_t loss_bin(std::int64_t units);
// The least loss of a bin in nats; of kLossBins, the largest there is.
[[nodiscard]] double loss_bin_begin(std::int64_t bin);

// 1 for the first piece of a word, 2 for the next, ... A word begins where white space begins or
// ends; 0 where a sequence begins within one, as nobody knows how far, until the next word.
[[nodiscard]] std::vector<std::int64_t> positions_in_word(const model::Batch& batch,
                                                          const data::Tokenizer& tokenizer);

class TokenDifficulty {
 public:
  // Places 1, 2, 3 in a word, and all later ones.
  static constexpr std::int64_t kWordPositions = 4;

  // `num_experts` of each of the MoE layers `layers`, ascending. Without any, everything below does
  // nothing. Takes 8 V (L + 5) bytes and a little.
  TokenDifficulty(std::int64_t vocab_size, std::int64_t num_experts,
                  std::vector<std::int64_t> layers);

  // The tokens of `batch` (on the host) that have a label and a finite loss.
  void add(const model::Batch& batch, const TokenLosses& losses, const data::Tokenizer& tokenizer);
  // What all ranks have counted, on all of them.
  void sum_over(const RankShare& ranks);

  // Experts of one layer, or of all of them together.
  struct Experts {
    std::int64_t num_k = 0;                       // k is below it
    std::span<const std::int64_t> count_BK = {};  // tokens with a loss of the bin and k experts
    std::int64_t units_times_k = 0;               // sum over tokens
  };
  struct Losses {
    std::span<const std::int64_t> units_B = {};  // sum of the losses of a bin's tokens
    std::int64_t square_units = 0;               // sum of the losses' squares
    std::vector<Experts> experts = {};           // by layer, then of all layers together
  };
  // Tokens that are alike.
  struct Groups {
    std::span<const std::int64_t> num_tokens_G;
    std::span<const std::int64_t> units_G;          // sum of their losses
    std::span<const std::int64_t> square_units_G;   // of the losses' squares
    std::span<const std::int64_t> square_k_G;       // of the squares of experts in all layers
    std::span<const std::int64_t> units_times_k_G;  // of loss times experts in all layers
    std::span<const std::int64_t> num_rows_LG;      // sum of their experts
  };

  [[nodiscard]] const std::vector<std::int64_t>& layers() const { return layers_; }
  [[nodiscard]] Losses of_prediction() const { return losses(prediction_); }
  [[nodiscard]] Losses of_input() const { return losses(input_); }
  [[nodiscard]] Groups by_word_position() const { return groups(word_); }
  [[nodiscard]] Groups by_piece() const { return groups(piece_); }  // [V], the token at a position

 private:
  // Where in cells_ the numbers are.
  struct LossesAt {
    std::size_t units = 0;
    std::size_t square = 0;
    std::vector<std::size_t> count = {};     // by layer, and of all
    std::vector<std::size_t> products = {};  // likewise
  };
  struct GroupsAt {
    static constexpr std::size_t kSums = 5;  // of a group, before those of each layer
    std::size_t begin = 0;
    std::size_t num_groups = 0;
  };
  [[nodiscard]] std::size_t reserve(std::size_t num_cells);
  [[nodiscard]] LossesAt reserve_losses();
  [[nodiscard]] GroupsAt reserve_groups(std::int64_t num_groups);
  [[nodiscard]] std::int64_t num_k(std::size_t column) const;
  void count(const LossesAt& at, std::int64_t units, std::span<const std::int64_t> k_C);
  void count(const GroupsAt& at, std::int64_t group, std::int64_t units,
             std::span<const std::int64_t> k_C);
  [[nodiscard]] Losses losses(const LossesAt& at) const;
  [[nodiscard]] Groups groups(const GroupsAt& at) const;
  [[nodiscard]] std::span<const std::int64_t> cells(std::size_t begin, std::size_t size) const;

  std::int64_t num_experts_;
  std::vector<std::int64_t> layers_;
  std::vector<std::int64_t> cells_;
  LossesAt prediction_;
  LossesAt input_;
  GroupsAt word_;
  GroupsAt piece_;
};

}  // namespace switchyard::inference
