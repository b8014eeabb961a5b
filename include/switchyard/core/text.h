// Text for error messages: the nearest known name, and joined lists.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace switchyard {

// The candidate within a small edit distance of `name`, or empty when none is near.
[[nodiscard]] std::string nearest_name(std::string_view name,
                                       std::span<const std::string> candidates);
// "a, b, c"
[[nodiscard]] std::string join(std::span<const std::string> parts, std::string_view separator);

}  // namespace switchyard
