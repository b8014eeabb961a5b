// Between text and the text of SentencePiece's pieces.
#pragma once

#include <string>
#include <string_view>

namespace switchyard::data {

// How pieces spell a space.
inline constexpr std::string_view kSpaceSign = "\xE2\x96\x81";  // U+2581

[[nodiscard]] std::string with_spaces(std::string_view piece);

// For TokenizerFacts::space_after_newline: what encodes as `text`. A newline at the end or before
// another one gets no space.
[[nodiscard]] std::string with_spaces_after_newlines(std::string_view text);
// The opposite, for the bytes of one piece.
[[nodiscard]] std::string without_spaces_after_newlines(std::string_view spaced);

}  // namespace switchyard::data
