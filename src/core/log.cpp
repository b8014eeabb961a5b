#include "switchyard/core/log.h"

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <cstdio>
#include <exception>
#include <memory>
#include <mutex>
#include <vector>

#include "switchyard/core/error.h"
#include "switchyard/core/file.h"
#include "switchyard/core/process.h"
#include "switchyard/core/terminal.h"
#include "switchyard/core/text.h"

namespace switchyard::log {

// A file that the disk may refuse for a while: lines wait in memory, in order, and are written with
// the next one.
class FileSink : public spdlog::sinks::base_sink<std::mutex> {
 public:
  explicit FileSink(const std::filesystem::path& path) : file_(path, AppendFile::Mode::kContinue) {
    set_pattern("%Y-%m-%d %H:%M:%S.%e %l: %v");
  }

  // Throws StorageError.
  void write_waiting() {
    const std::lock_guard lock(mutex_);
    file_.write({});
  }

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t line;
    formatter_->format(message, line);
    const bool was_complete = file_.is_complete();
    try {
      file_.write({line.data(), line.size()});
    } catch (const StorageError& error) {
      if (!was_complete) return;
      std::fprintf(stderr, "switchyard: warning: %s: its lines wait until it can be written\n",
                   error.what());
    }
  }
  void flush_() override {}  // nothing is held back

 private:
  AppendFile file_;
};

namespace {

// "switchyard: warning: " and "switchyard: error: "; nothing in front of information.
class LevelPrefix : public spdlog::custom_flag_formatter {
 public:
  explicit LevelPrefix(bool coloured) : coloured_(coloured) {}

  void format(const spdlog::details::log_msg& message, const std::tm& /*time*/,
              spdlog::memory_buf_t& out) override {
    const bool is_error = message.level == spdlog::level::err;
    if (!is_error && message.level != spdlog::level::warn) return;
    append(out, "switchyard: ");
    if (coloured_) append(out, is_error ? "\033[1;31m" : "\033[1;33m");
    append(out, is_error ? "error:" : "warning:");
    if (coloured_) append(out, "\033[0m");
    append(out, " ");
  }

  [[nodiscard]] std::unique_ptr<custom_flag_formatter> clone() const override {
    return std::make_unique<LevelPrefix>(coloured_);
  }

 private:
  static void append(spdlog::memory_buf_t& out, std::string_view text) {
    out.append(text.data(), text.data() + text.size());
  }
  bool coloured_;
};

std::vector<std::shared_ptr<FileSink>>& file_sinks() {
  static std::vector<std::shared_ptr<FileSink>> sinks;
  return sinks;
}

spdlog::logger& logger() {
  static const std::shared_ptr<spdlog::logger> instance = [] {
    auto sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
    auto formatter = std::make_unique<spdlog::pattern_formatter>();
    formatter->add_flag<LevelPrefix>('*', stderr_has_color()).set_pattern("%*%v");
    sink->set_formatter(std::move(formatter));
    auto created = std::make_shared<spdlog::logger>("switchyard", std::move(sink));
    created->set_level(spdlog::level::info);
    created->flush_on(spdlog::level::info);
    created->set_error_handler([](const std::string& /*what*/) {
      write_last_words("a message could not be written, for want of memory or of a place for it");
    });
    return created;
  }();
  return *instance;
}

// Paths and foreign text may hold any bytes; newlines and tabs of samples stay.
std::string without_control_characters(std::string_view message) {
  std::string out;
  while (true) {
    const std::size_t end = message.find_first_of("\n\t");
    out += printable_line(message.substr(0, end));
    if (end == std::string_view::npos) return out;
    out += message[end];
    message.remove_prefix(end + 1);
  }
}

std::int64_t& speaking_rank() {
  static std::int64_t rank = 0;
  return rank;
}

// Files come and go while ranks that are threads of this process log.
std::mutex& sinks_mutex() {
  static std::mutex mutex;
  return mutex;
}

void write(spdlog::level::level_enum level, const std::string& message) {
  const std::lock_guard lock(sinks_mutex());
  if (const std::int64_t rank = speaking_rank(); rank > 0) {
    if (level != spdlog::level::err) return;
    logger().log(level, "rank {}: {}", rank, without_control_characters(message));
    return;
  }
  clear_status_line();
  logger().log(level, spdlog::string_view_t(without_control_characters(message)));
}

}  // namespace

void write_info(const std::string& message) {
  write(spdlog::level::info, message);
}
void write_warning(const std::string& message) {
  write(spdlog::level::warn, message);
}
void write_error(const std::string& message) {
  write(spdlog::level::err, message);
}

void write_hint(const std::string& message) {
  write(speaking_rank() > 0 ? spdlog::level::err : spdlog::level::info, "  hint: " + message);
}

void speak_as_rank(std::int64_t rank) {
  speaking_rank() = rank;
}

void write_to_file(const std::string& message) {
  const spdlog::details::log_msg record("switchyard", spdlog::level::info,
                                        spdlog::string_view_t(message));
  const std::lock_guard lock(sinks_mutex());
  const auto& sinks = logger().sinks();  // the first is standard error
  for (std::size_t i = 1; i < sinks.size(); ++i) {
    sinks[i]->log(record);
    sinks[i]->flush();
  }
}

LogFile::LogFile(const std::filesystem::path& path)
    : sink_(std::make_shared<FileSink>(path)), num_exceptions_(std::uncaught_exceptions()) {
  const std::lock_guard lock(sinks_mutex());
  file_sinks().push_back(sink_);
  logger().sinks().push_back(sink_);
}

LogFile::~LogFile() {
  if (!sink_ || std::uncaught_exceptions() > num_exceptions_) return;
  const std::lock_guard lock(sinks_mutex());
  std::erase(file_sinks(), sink_);
  std::erase(logger().sinks(), sink_);
}

void write_waiting_lines() {
  const std::lock_guard lock(sinks_mutex());
  for (const std::shared_ptr<FileSink>& sink : file_sinks()) sink->write_waiting();
}

}  // namespace switchyard::log
