// metrics.jsonl: one JSON object per line, appended and handed to the operating system at once.
#pragma once

#include <filesystem>

#include "switchyard/format/json.h"

namespace switchyard::telemetry {

class MetricsWriter {
 public:
  // Opens for appending. A last line that a killed run left without its end is cut off, so that
  // every line parses. Throws StorageError.
  explicit MetricsWriter(std::filesystem::path path);
  ~MetricsWriter();
  MetricsWriter(const MetricsWriter&) = delete;
  MetricsWriter& operator=(const MetricsWriter&) = delete;

  // Appends one line in one write. Throws StorageError.
  void write(const format::Json& record);

 private:
  void cut_torn_line();
  [[noreturn]] void fail(const char* action) const;

  std::filesystem::path path_;
  int descriptor_ = -1;
};

}  // namespace switchyard::telemetry
