// Messages for people: spdlog behind four functions. Standard error, and a file once one is set.
// Results that scripts read go to standard output, never through here.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>

namespace switchyard::log {

class FileSink;

void write_info(const std::string& message);
void write_warning(const std::string& message);
void write_error(const std::string& message);
// What helps with an error that was just written.
void write_hint(const std::string& message);
// Of several ranks one tells what happens. From here on: rank 0 does, any other one writes errors
// and their hints only, each with its number in front.
void speak_as_rank(std::int64_t rank);
// A file that every message is appended to as well, with a time stamp, as long as this lives: a
// run's log.txt. One that cannot be written later on costs a warning: its lines wait in memory and
// follow in order once it can. Where an exception ends its scope, the file stays until the process
// ends: who catches the error tells it there, too.
class LogFile {
 public:
  // Throws StorageError when it cannot be opened.
  explicit LogFile(const std::filesystem::path& path);
  ~LogFile();
  LogFile(LogFile&& other) noexcept = default;
  LogFile& operator=(LogFile&&) = delete;
  LogFile(const LogFile&) = delete;
  LogFile& operator=(const LogFile&) = delete;

 private:
  std::shared_ptr<FileSink> sink_;
  int num_exceptions_;  // under way when it was opened
};
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
