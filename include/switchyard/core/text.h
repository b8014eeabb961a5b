// Text for error messages: the nearest known name, foreign text made safe to print, joined lists.
#pragma once

#include <cstddef>
#include <cstdint>
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
// `text` for a message, as valid UTF-8 in one line: control characters and bytes that are no UTF-8
// escaped ("\x0a"), cut after at most `max_bytes` (never inside a character) with "..." behind it.
[[nodiscard]] std::string printable(std::string_view text, std::size_t max_bytes = 80);
// The same in full, for paths and for whole lines.
[[nodiscard]] std::string printable_line(std::string_view text);
// One word for a shell: as it is when it needs no quotes, else in single quotes; with bytes that
// cannot be shown, as $'...', which bash, zsh and POSIX 2024 read. In this form it survives
// printable_line().
[[nodiscard]] std::string shell_quoted(std::string_view text);
// shell_quoted() for a path as an argument of its own: one that begins with a dash, which a program
// would take for a flag, as "./-x".
[[nodiscard]] std::string shell_path(std::string_view path);
// "step" for one, "steps" for any other number.
[[nodiscard]] std::string plural(std::int64_t count, std::string_view noun);
// "1 step", "2 steps".
[[nodiscard]] std::string counted(std::int64_t count, std::string_view noun);
// The parts of `text` between any two of `separators`, views of it; empty parts too, so that one
// with n separators in it has n + 1 of them.
[[nodiscard]] std::vector<std::string_view> split(std::string_view text,
                                                  std::string_view separators);
// "a, b, c"
[[nodiscard]] std::string join(std::span<const std::string> parts, std::string_view separator);

}  // namespace switchyard
