#include "config/yaml/plain_text.h"

#include <algorithm>

namespace switchyard::config {

std::optional<std::size_t> first_control_character(std::string_view text) {
  const auto* found = std::find_if(text.begin(), text.end(), [](char c) {
    return static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\r' && c != '\t';
  });
  if (found == text.end()) return std::nullopt;
  return static_cast<std::size_t>(found - text.begin());
}

}  // namespace switchyard::config
