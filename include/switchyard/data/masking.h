// Masked-language modelling (Devlin et al., "BERT", NAACL 2019): which tokens an encoder has to
// guess, and what it sees in their places. A pure function of the seed and the sample's number,
// which counts through the epochs: a text is masked anew each time it is read.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "switchyard/data/special_tokens.h"
#include "switchyard/data/tokenizer.h"

namespace switchyard::data {

struct MaskingOptions {
  double rate = 0.15;        // of the tokens that stand for text, in (0, 1)
  bool whole_words = false;  // all tokens of a word or none; needs the tokenizer's words
  std::uint64_t seed = 0;
};

struct MaskedTokens {
  std::vector<std::int32_t> token;     // as the model sees them
  std::vector<std::int64_t> position;  // of those to be guessed, ascending
  std::vector<std::int32_t> label;     // what they were
};

// Whether a word begins at each token: at the first one, and where white space begins or ends.
[[nodiscard]] std::vector<bool> word_starts(std::span<const std::int32_t> tokens,
                                            const Tokenizer& tokenizer);

// Does the token itself begin with white space, so that nothing of its word is before it?
[[nodiscard]] bool begins_with_space(std::int32_t token, const Tokenizer& tokenizer);

// max(1, round(rate * n)) of the n tokens that are neither special nor `separator`, drawn without
// repetition; none when n is 0. Of them 80 % become special.mask, 10 % any piece of the vocabulary,
// 10 % stay. With whole words, words are taken in a random order as long as they fit into that
// number, and the first one in any case. `word_start`: empty, or one per token.
[[nodiscard]] MaskedTokens mask_tokens(std::span<const std::int32_t> tokens,
                                       const std::vector<bool>& word_start,
                                       const SpecialTokens& special,
                                       std::optional<std::int32_t> separator,
                                       const MaskingOptions& options, std::int64_t sample);

}  // namespace switchyard::data
