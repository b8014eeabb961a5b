#include "switchyard/core/log.h"

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>

#include "switchyard/core/error.h"
#include "switchyard/core/terminal.h"

namespace switchyard::log {
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

spdlog::logger& logger() {
  static const std::shared_ptr<spdlog::logger> instance = [] {
    auto sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
    auto formatter = std::make_unique<spdlog::pattern_formatter>();
    formatter->add_flag<LevelPrefix>('*', stderr_has_color()).set_pattern("%*%v");
    sink->set_formatter(std::move(formatter));
    auto created = std::make_shared<spdlog::logger>("switchyard", std::move(sink));
    created->set_level(spdlog::level::info);
    created->flush_on(spdlog::level::info);
    return created;
  }();
  return *instance;
}

void write(spdlog::level::level_enum level, const std::string& message) {
  clear_status_line();
  logger().log(level, spdlog::string_view_t(message));
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

void write_to_file(const std::string& message) {
  const spdlog::details::log_msg record("switchyard", spdlog::level::info,
                                        spdlog::string_view_t(message));
  const auto& sinks = logger().sinks();  // the first is standard error
  for (std::size_t i = 1; i < sinks.size(); ++i) {
    sinks[i]->log(record);
    sinks[i]->flush();
  }
}

void add_file(const std::filesystem::path& path) {
  try {
    auto sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(path.string());
    sink->set_pattern("%Y-%m-%d %H:%M:%S.%e %l: %v");
    logger().sinks().push_back(std::move(sink));
  } catch (const spdlog::spdlog_ex& error) {
    throw StorageError(fmt::format("cannot open the log {}: {}", path.string(), error.what()));
  }
}

}  // namespace switchyard::log
