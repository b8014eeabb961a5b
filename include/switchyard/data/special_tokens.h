// Ids of an encoder that stand for no text. They come behind the tokenizer's pieces, so that every
// tokenizer serves, whatever special pieces it has of its own.
#pragma once

#include <cstdint>

namespace switchyard::data {

struct SpecialTokens {
  static constexpr std::int64_t kCount = 3;

  std::int32_t mask = 0;  // in the place of a token that is to be guessed
  std::int32_t cls = 0;   // where every sequence begins
  std::int32_t sep = 0;   // behind every text

  // `num_pieces`: the tokenizer's vocabulary.
  [[nodiscard]] static constexpr SpecialTokens behind(std::int64_t num_pieces) {
    const auto first = static_cast<std::int32_t>(num_pieces);
    return {.mask = first, .cls = first + 1, .sep = first + 2};
  }
  [[nodiscard]] constexpr std::int64_t num_pieces() const { return mask; }
};

}  // namespace switchyard::data
