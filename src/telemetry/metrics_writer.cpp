#include "switchyard/telemetry/metrics_writer.h"

#include <string>
#include <system_error>

#include "switchyard/core/error.h"

namespace switchyard::telemetry {
namespace fs = std::filesystem;
namespace {

const fs::path& without_torn_line(const fs::path& path) {
  if (!fs::exists(path)) return path;
  const std::string text = read_file(path);
  const std::size_t complete = text.rfind('\n') + 1;  // npos + 1 is 0
  std::error_code error;
  if (complete != text.size()) {
    separate_from_hard_links(path);
    fs::resize_file(path, complete, error);
  }
  if (error) {
    throw StorageError(fmt::format("cannot truncate {}: {}", path.string(), error.message()));
  }
  return path;
}

}  // namespace

MetricsWriter::MetricsWriter(const fs::path& path)
    : file_(without_torn_line(path), AppendFile::Mode::kContinue) {}

void MetricsWriter::write(const format::Json& record) {
  file_.write(format::json_text(record) + "\n");
}

void MetricsWriter::write_waiting() {
  file_.write({});
}

}  // namespace switchyard::telemetry
