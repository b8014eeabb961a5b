#include "config/yaml/plain_text.h"

#include <algorithm>
#include <array>

namespace switchyard::config {

std::optional<std::size_t> first_invalid_utf8(std::string_view text) {
  // RFC 3629: the lead byte fixes the length and the range of the second byte.
  struct Lead {
    unsigned first, last;
    std::size_t length;
    unsigned second_first, second_last;
  };
  static constexpr std::array<Lead, 8> kLeads = {{{0xC2, 0xDF, 2, 0x80, 0xBF},
                                                  {0xE0, 0xE0, 3, 0xA0, 0xBF},
                                                  {0xE1, 0xEC, 3, 0x80, 0xBF},
                                                  {0xED, 0xED, 3, 0x80, 0x9F},
                                                  {0xEE, 0xEF, 3, 0x80, 0xBF},
                                                  {0xF0, 0xF0, 4, 0x90, 0xBF},
                                                  {0xF1, 0xF3, 4, 0x80, 0xBF},
                                                  {0xF4, 0xF4, 4, 0x80, 0x8F}}};
  const auto byte_at = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  std::size_t i = 0;
  while (i < text.size()) {
    const unsigned byte = byte_at(i);
    if (byte < 0x80) {
      ++i;
      continue;
    }
    const auto* lead = std::find_if(kLeads.begin(), kLeads.end(), [byte](const Lead& candidate) {
      return byte >= candidate.first && byte <= candidate.last;
    });
    if (lead == kLeads.end() || i + lead->length > text.size()) return i;
    if (byte_at(i + 1) < lead->second_first || byte_at(i + 1) > lead->second_last) return i;
    for (std::size_t j = 2; j < lead->length; ++j) {
      if ((byte_at(i + j) & 0xC0U) != 0x80U) return i;
    }
    i += lead->length;
  }
  return std::nullopt;
}

std::optional<std::size_t> first_control_character(std::string_view text) {
  const auto* found = std::find_if(text.begin(), text.end(), [](char c) {
    return static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\r' && c != '\t';
  });
  if (found == text.end()) return std::nullopt;
  return static_cast<std::size_t>(found - text.begin());
}

}  // namespace switchyard::config
