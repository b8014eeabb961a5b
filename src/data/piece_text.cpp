#include "data/piece_text.h"

#include <cstddef>

namespace switchyard::data {

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

std::string with_spaces_after_newlines(std::string_view text) {
  std::string spaced;
  spaced.reserve(text.size() + text.size() / 32);
  for (std::size_t i = 0; i < text.size(); ++i) {
    spaced += text[i];
    if (text[i] == '\n' && i + 1 < text.size() && text[i + 1] != '\n') spaced += ' ';
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

}  // namespace switchyard::data
