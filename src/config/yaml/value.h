// One field's value: from a YAML node into Config, and from Config to YAML text.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/yaml/document.h"
#include "switchyard/config/field_table.h"

namespace switchyard::config {

struct ValueProblem {
  Position position;
  std::string message;  // "must be in (0, 1], got 1.5"
};

// Checks `node` against the row and stores it. With problems, the field keeps its old value.
[[nodiscard]] std::vector<ValueProblem> assign(const Field& field, const Node& node,
                                               Config& config);
// The value as YAML on one line; load reads back the same bits.
[[nodiscard]] std::string value_text(const Field& field, const Config& config);

// Digits with a sign, or a whole number in scientific notation such as 2e6.
[[nodiscard]] std::optional<std::int64_t> parse_integer(std::string_view text);
// A finite number in decimal or scientific notation; "-0" is 0.
[[nodiscard]] std::optional<double> parse_number(std::string_view text);
// For text that one of the two refuses: why, when it is a number all the same; else nothing.
// " (too large or too small for 64 bits)"
[[nodiscard]] std::string why_no_integer(std::string_view text);
[[nodiscard]] std::string why_no_number(std::string_view text);

// " (did you mean 'top_k'?)" or nothing.
[[nodiscard]] std::string suggestion(std::string_view name,
                                     const std::vector<std::string>& candidates);

// A scalar as YAML: plain where that is safe, else in double quotes.
[[nodiscard]] std::string text_to_yaml(const std::string& text);

}  // namespace switchyard::config
