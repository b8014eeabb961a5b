// Between text and the text of SentencePiece's pieces: the same before training and before
// encoding.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "switchyard/format/sentencepiece_model.h"

namespace switchyard::data {

// How pieces spell a space.
inline constexpr std::string_view kSpaceSign = "\xE2\x96\x81";  // U+2581

[[nodiscard]] std::string with_spaces(std::string_view piece);

// What encodes as `text`: with a space before it when it `begins` a text of a model whose first
// words have one, and with spaces behind newlines. A newline at the end gets none, and of a model
// with a rule neither does one at the beginning.
[[nodiscard]] std::string text_to_encode(std::string_view text, bool begins,
                                         format::SpaceAfterNewline rule);
// The opposite, for the bytes of one piece: whatever the rule was.
[[nodiscard]] std::string without_spaces_after_newlines(std::string_view spaced);

// Letters and digits; anything that is not ASCII counts.
[[nodiscard]] bool is_letter(char byte);

// Where the stretch of `spaced` ends that begins at `begin`: tokenizers are trained on stretches
// (sentencepiece_training.cpp says why), so that no piece reaches across their borders.
[[nodiscard]] std::size_t end_of_stretch(std::string_view spaced, std::size_t begin);
// A sign that the trainer has a use of its own for is a stretch by itself, and nothing is learned
// from it.
[[nodiscard]] bool starts_reserved_sign(std::string_view text);

inline constexpr std::size_t kMaxStretchBytes = 8192;

}  // namespace switchyard::data
