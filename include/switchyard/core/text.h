// Text for error messages: the nearest known name, foreign text made safe to print, joined lists.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace switchyard {

// The candidate within a small edit distance of `name`, or empty when none is near.
[[nodiscard]] std::string nearest_name(std::string_view name,
                                       std::span<const std::string> candidates);
// `text` for a message: control characters escaped, cut after at most `max_bytes` (never inside a
// UTF-8 character) with "..." behind it.
[[nodiscard]] std::string printable(std::string_view text, std::size_t max_bytes = 80);
// "a, b, c"
[[nodiscard]] std::string join(std::span<const std::string> parts, std::string_view separator);

}  // namespace switchyard
