// Checks that bytes are text.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace switchyard::config {

// Offset of the first byte that is not part of valid UTF-8, or none.
[[nodiscard]] std::optional<std::size_t> first_invalid_utf8(std::string_view text);

// Offset of the first control character other than tab and line ends, or none.
[[nodiscard]] std::optional<std::size_t> first_control_character(std::string_view text);

}  // namespace switchyard::config
