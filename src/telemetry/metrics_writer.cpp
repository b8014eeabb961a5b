#include "switchyard/telemetry/metrics_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "switchyard/core/error.h"
#include "switchyard/core/file.h"

namespace switchyard::telemetry {

MetricsWriter::MetricsWriter(std::filesystem::path path) : path_(std::move(path)) {
  if (std::filesystem::exists(path_)) cut_torn_line();
  descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (descriptor_ < 0) fail("open");
}

MetricsWriter::~MetricsWriter() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void MetricsWriter::write(const format::Json& record) {
  const std::string line = record.dump() + "\n";
  std::size_t written = 0;
  while (written < line.size()) {
    const ssize_t count = ::write(descriptor_, line.data() + written, line.size() - written);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail("write");
    written += static_cast<std::size_t>(count);
  }
}

void MetricsWriter::cut_torn_line() {
  const std::string text = read_file(path_);
  if (text.empty() || text.back() == '\n') return;
  const std::size_t last_newline = text.rfind('\n');
  const std::size_t kept = last_newline == std::string::npos ? 0 : last_newline + 1;
  if (::truncate(path_.c_str(), static_cast<off_t>(kept)) != 0) fail("truncate");
}

void MetricsWriter::fail(const char* action) const {
  throw StorageError(fmt::format("cannot {} {}: {}", action, path_.string(), std::strerror(errno)));
}

}  // namespace switchyard::telemetry
