#include "data/piece_text.h"

#include "switchyard/core/utf8.h"

namespace switchyard::data {
namespace {

using format::SpaceAfterNewline;

// The trainer's sign for an unknown character; as long as kSpaceSign.
constexpr std::string_view kUnknownSign = "\xE2\x96\x85";  // U+2585

// Whether `next` is the beginning of what gets a space before it.
bool is_other_text(SpaceAfterNewline rule, char next) {
  switch (rule) {
    case SpaceAfterNewline::kNever:
      return false;
    case SpaceAfterNewline::kUnlessNewlineFollows:
      return next != '\n';
    case SpaceAfterNewline::kUnlessLineBreakFollows:
      return next != '\n' && next != '\r';
  }
  return false;
}

}  // namespace

std::string with_spaces(std::string_view piece) {
  std::string text;
  for (std::size_t at = 0; at < piece.size();) {
    if (piece.substr(at).starts_with(kSpaceSign)) {
      text += ' ';
      at += kSpaceSign.size();
    } else {
      text += piece[at++];
    }
  }
  return text;
}

std::string text_to_encode(std::string_view text, bool begins, SpaceAfterNewline rule) {
  std::string spaced;
  spaced.reserve(1 + text.size() + text.size() / 32);
  const bool as_sentencepiece = rule == SpaceAfterNewline::kNever;
  if (begins && !text.empty() && (as_sentencepiece || is_other_text(rule, text[0]))) spaced += ' ';
  for (std::size_t i = 0; i < text.size(); ++i) {
    spaced += text[i];
    if (text[i] == '\n' && i + 1 < text.size() && is_other_text(rule, text[i + 1])) spaced += ' ';
  }
  return spaced;
}

std::string without_spaces_after_newlines(std::string_view spaced) {
  std::string text;
  for (const char byte : spaced) {
    if (byte != ' ' || text.empty() || text.back() != '\n') text += byte;
  }
  return text;
}

bool is_letter(char byte) {
  const auto value = static_cast<unsigned char>(byte);
  return value >= 0x80 || (value >= '0' && value <= '9') || (value >= 'A' && value <= 'Z') ||
         (value >= 'a' && value <= 'z');
}

bool starts_reserved_sign(std::string_view text) {
  return text.starts_with(kSpaceSign) || text.starts_with(kUnknownSign);
}

std::size_t end_of_stretch(std::string_view spaced, std::size_t begin) {
  if (starts_reserved_sign(spaced.substr(begin))) return begin + kSpaceSign.size();
  for (std::size_t i = begin + 1; i < spaced.size(); ++i) {
    const char before = spaced[i - 1];
    const bool line_break = spaced[i] == '\n' || spaced[i] == '\r';
    if (line_break && is_letter(before)) return i;
    if (before == '\n' && !line_break) return i;
    if (spaced[i] == '\xE2' && starts_reserved_sign(spaced.substr(i))) return i;
    if (i - begin < kMaxStretchBytes) continue;
    // Between two words, if there are two.
    const std::size_t space = spaced.rfind(' ', i);
    if (space != std::string_view::npos && space > begin) return space;
    return floor_character_boundary(spaced, i);
  }
  return spaced.size();
}

}  // namespace switchyard::data
