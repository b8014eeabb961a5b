// Checks of what follows a flag or stands for a positional.
#pragma once

#include <optional>
#include <string>

#include "switchyard/config/options.h"

namespace switchyard::config {

// What is wrong with one value, or nothing. Files and folders are looked at, not opened.
[[nodiscard]] std::optional<std::string> problem_of_value(const OptionSpec& option,
                                                          const std::string& value);

// Do values of this kind name a file or a folder?
[[nodiscard]] bool is_path(ValueKind kind);

// Is what is written to `a` written to the regular file `b`? Neither need exist.
[[nodiscard]] bool are_one_file(const std::string& a, const std::string& b);

}  // namespace switchyard::config
