#include "switchyard/core/markdown.h"

#include "switchyard/core/text.h"

namespace switchyard {

std::string markdown_cell(std::string_view text, std::size_t max_bytes) {
  std::string out;
  for (const char c : printable(text, max_bytes)) {
    if (c == '|' || c == '\\' || c == '`' || c == '<') out += '\\';
    out += c;
  }
  return out;
}

}  // namespace switchyard
