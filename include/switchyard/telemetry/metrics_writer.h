// metrics.jsonl: one JSON object per line, appended and handed to the operating system at once.
#pragma once

#include <filesystem>

#include "switchyard/core/file.h"
#include "switchyard/format/json.h"

namespace switchyard::telemetry {

class MetricsWriter {
 public:
  // Opens for appending. A last line that a killed run left without its end is cut off, so that
  // every line parses. Throws StorageError.
  explicit MetricsWriter(const std::filesystem::path& path);

  // Appends one line in one write. Throws StorageError; the line then waits and goes before the
  // next one, whole and once.
  void write(const format::Json& record);
  // Tries to write what waits. Throws StorageError.
  void write_waiting();

 private:
  AppendFile file_;
};

}  // namespace switchyard::telemetry
