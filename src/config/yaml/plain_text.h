// Checks that text is plain.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace switchyard::config {

// Offset of the first control character other than tab and line ends, or none.
[[nodiscard]] std::optional<std::size_t> first_control_character(std::string_view text);

}  // namespace switchyard::config
