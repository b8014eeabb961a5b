// Text and numbers for the page. Everything that comes from a file goes through escape().
#pragma once

#include <string>
#include <string_view>

namespace switchyard::telemetry::html {

// Text for an element or a quoted attribute: markup escaped, bytes that are not UTF-8 and control
// characters other than tab and newline replaced by U+FFFD.
[[nodiscard]] std::string escape(std::string_view text);

// A coordinate: at most two decimals, no exponent.
[[nodiscard]] std::string coordinate(double value);
// About four significant digits for a tooltip or a sentence: 3.412, 0.00031, 5.12k, 3e-06.
[[nodiscard]] std::string number(double value);
// A share of 1 as "44%"; below 10 % with one decimal. Not escaped: it may be "<0.1%".
[[nodiscard]] std::string percent(double share);

}  // namespace switchyard::telemetry::html
