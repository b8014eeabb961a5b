// How messages speak of what came through a pipe, whose path only its writer knows.
#pragma once

#include <string>
#include <string_view>

namespace switchyard {

inline constexpr const char* kStandardInput = "standard input";

[[nodiscard]] inline bool is_standard_input(std::string_view path) {
  return path == "-" || path == "/dev/stdin" || path == "/dev/fd/0" || path == "/proc/self/fd/0";
}

// The name of an input in messages.
[[nodiscard]] inline std::string input_name(const std::string& path) {
  return is_standard_input(path) ? kStandardInput : path;
}

// What stands for such a name in a command that a message advises: itself, or FILE.
[[nodiscard]] inline std::string file_of(const std::string& name) {
  return name == kStandardInput ? "FILE" : name;
}

}  // namespace switchyard
