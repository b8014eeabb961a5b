// English-like text made of a fixed word list, so that tests need no corpus.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "switchyard/core/philox.h"

namespace switchyard::testing {

// At least `size` bytes of sentences in short lines and paragraphs; a pure function of its
// arguments.
inline std::string small_text(std::size_t size, std::uint64_t seed = 0) {
  constexpr std::array<const char*, 32> kWords{
      "the",    "of",     "and",   "to",      "in",      "that",   "light", "water",
      "earth",  "day",    "night", "waters",  "heaven",  "spirit", "moved", "upon",
      "face",   "deep",   "said",  "let",     "there",   "be",     "was",   "good",
      "divide", "called", "first", "evening", "morning", "gather", "place", "it"};
  std::string text;
  std::uint32_t words = 0;
  for (std::uint32_t block = 0; text.size() < size; ++block) {
    for (const std::uint32_t word : philox(philox_key(seed), {block, 0, 0, 0})) {
      text += kWords[word % kWords.size()];
      const std::uint32_t mark = word >> 16U & 15U;
      ++words;
      if (mark == 0) {
        text += ".\n";
        if ((word >> 24U & 3U) == 0) text += '\n';
      } else if (mark == 1) {
        text += ", ";
      } else {
        text += words % 12 == 0 ? '\n' : ' ';
      }
    }
  }
  return text;
}

}  // namespace switchyard::testing
