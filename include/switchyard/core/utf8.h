// UTF-8 as RFC 3629 defines it: no overlong forms, no surrogates, nothing above U+10FFFF.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace switchyard {

// Length in bytes (1..4) of the character that `text` starts with; 0 when `text` is empty or its
// first bytes are not a valid character.
[[nodiscard]] std::size_t utf8_character_length(std::string_view text);

// Offset of the first byte that belongs to no valid character, or none.
[[nodiscard]] std::optional<std::size_t> first_invalid_utf8(std::string_view text);

// The largest offset <= `position` at which a character starts (`text` is valid UTF-8).
[[nodiscard]] std::size_t floor_character_boundary(std::string_view text, std::size_t position);

}  // namespace switchyard
