#include "switchyard/inference/printable.h"

#include <cstddef>

#include "switchyard/core/utf8.h"

namespace switchyard::inference {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

bool is_control(std::string_view character) {
  const auto byte = static_cast<unsigned char>(character[0]);
  if (character.size() == 1) return (byte < 0x20 && byte != '\n' && byte != '\t') || byte == 0x7F;
  // U+0080 to U+009F
  return character.size() == 2 && byte == 0xC2 && static_cast<unsigned char>(character[1]) < 0xA0;
}

// Could more bytes make this the beginning of a character?
bool may_continue(std::string_view bytes) {
  const auto lead = static_cast<unsigned char>(bytes[0]);
  const std::size_t length = lead >= 0xF0 && lead <= 0xF4   ? 4
                             : lead >= 0xE0 && lead <= 0xEF ? 3
                             : lead >= 0xC2 && lead <= 0xDF ? 2
                                                            : 1;
  if (bytes.size() >= length) return false;
  for (const char byte : bytes.substr(1)) {
    if ((static_cast<unsigned char>(byte) & 0xC0) != 0x80) return false;
  }
  return true;
}

}  // namespace

std::string PrintableStream::push(std::string_view bytes) {
  pending_ += bytes;
  std::string text;
  std::string_view rest = pending_;
  while (!rest.empty()) {
    std::size_t length = utf8_character_length(rest);
    if (length == 0 && may_continue(rest)) break;
    if (length == 0 || is_control(rest.substr(0, length))) {
      text += kReplacement;
      length = length == 0 ? 1 : length;
    } else {
      text += rest.substr(0, length);
    }
    rest.remove_prefix(length);
  }
  pending_ = std::string(rest);
  return text;
}

std::string PrintableStream::finish() {
  std::string text;
  for (std::size_t i = 0; i < pending_.size(); ++i) text += kReplacement;
  pending_.clear();
  return text;
}

std::string printable_text(std::string_view bytes) {
  PrintableStream stream;
  std::string text = stream.push(bytes);
  return text + stream.finish();
}

}  // namespace switchyard::inference
