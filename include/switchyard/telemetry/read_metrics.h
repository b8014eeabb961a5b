// metrics.jsonl back into records: the one place that knows which lines of it still count.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "switchyard/telemetry/record.h"

namespace switchyard::telemetry {

// What a run recorded, in the order of its steps. `{"event": "resume", "step": N}` takes back all
// earlier records of steps after N: the run went on from N without them.
struct Metrics {
  std::vector<StepRecord> steps = {};
  std::vector<EvaluationRecord> evaluations = {};
  std::optional<EvaluationRecord> calibration = {};
  std::vector<std::int64_t> resumes = {};  // the step of every resume, in the order of the file
  // For people: lines that could not be read and were left out, named "metrics.jsonl:17: ...".
  std::vector<std::string> notes = {};
};

// Reads the metrics of a run, which may still be writing them: a last line without its end is
// ignored. Numbers that are null (not finite) or absent (an older file) become NaN, 0 or none.
// Damaged lines become notes. Throws StorageError when the file cannot be read at all.
[[nodiscard]] Metrics read_metrics(const std::filesystem::path& path);

// The same from the file's text; `name` is for the notes.
[[nodiscard]] Metrics parse_metrics(std::string_view text, const std::string& name);

}  // namespace switchyard::telemetry
