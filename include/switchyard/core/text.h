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
// The one candidate that `name` abbreviates: "lr" and "learn_rate" learning_rate, "warmup"
// warmup_steps, "wd" weight_decay. Empty when there is none, or several.
[[nodiscard]] std::string abbreviated_name(std::string_view name,
                                           std::span<const std::string> candidates);
// `text` for a message: control characters escaped, cut after at most `max_bytes` (never inside a
// UTF-8 character) with "..." behind it.
[[nodiscard]] std::string printable(std::string_view text, std::size_t max_bytes = 80);
// One word for a POSIX shell: as it is when it needs no quotes, else in single quotes.
[[nodiscard]] std::string shell_quoted(std::string_view text);
// "a, b, c"
[[nodiscard]] std::string join(std::span<const std::string> parts, std::string_view separator);

}  // namespace switchyard
