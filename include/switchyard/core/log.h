// Messages for people: spdlog behind four functions. Standard error, and a file once one is set.
// Results that scripts read go to standard output, never through here.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>

namespace switchyard::log {

void write_info(const std::string& message);
void write_warning(const std::string& message);
void write_error(const std::string& message);
// What helps with an error that was just written.
void write_hint(const std::string& message);
// Of several ranks one tells what happens. From here on: rank 0 does, any other one writes errors
// and their hints only, each with its number in front.
void speak_as_rank(std::int64_t rank);
// Also append every message, with time stamps, to this file (a run's log.txt). Not while other
// threads log. A file that cannot be written later on costs a warning: its lines wait in memory and
// follow in order once it can. Throws StorageError when it cannot be opened.
void add_file(const std::filesystem::path& path);
// Tries to write what waits. Throws StorageError when a file still cannot be written.
void write_waiting_lines();
// Only to the files: for what standard error already shows in another form.
void write_to_file(const std::string& message);

template <typename... Args>
void info(fmt::format_string<Args...> format, Args&&... args) {
  write_info(fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void warning(fmt::format_string<Args...> format, Args&&... args) {
  write_warning(fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void error(fmt::format_string<Args...> format, Args&&... args) {
  write_error(fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace switchyard::log
