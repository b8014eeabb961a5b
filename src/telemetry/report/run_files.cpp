#include "telemetry/report/run_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <system_error>

#include "switchyard/config/folders.h"
#include "switchyard/config/load.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"
#include "switchyard/core/folder_name.h"
#include "switchyard/core/text.h"
#include "switchyard/format/json.h"

namespace switchyard::telemetry {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxSamples = 5;
constexpr std::size_t kMaxSampleBytes = 8000;
constexpr std::uintmax_t kMaxTextBytes = std::uintmax_t{1} << 20;

// A text of a run is small; a larger file is something else.
std::string read_small_file(const fs::path& path) {
  std::error_code error;
  const std::uintmax_t size = fs::file_size(path, error);
  if (!error && size > kMaxTextBytes) {
    throw DataError(fmt::format("{} has {}: too large for a page", path.string(),
                                counted(static_cast<std::int64_t>(size), "byte")));
  }
  return read_file(path);
}

void note_failure(RunFiles& files, const std::function<void()>& read) {
  try {
    read();
  } catch (const Error& error) {
    files.notes.emplace_back(error.what());
  }
}

void read_config(RunFiles& files, const fs::path& run) {
  files.config_text = read_small_file(run / config::kResolvedConfigName);
  files.config = config::load_text(files.config_text, config::kResolvedConfigName, {}).config;
}

void read_samples(RunFiles& files, const fs::path& folder) {
  std::vector<fs::path> paths;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    if (entry->path().extension() == ".txt") paths.push_back(entry->path());
  }
  files.num_samples = paths.size();
  // Names carry the step with leading zeros; a longer number is a later step.
  std::sort(paths.begin(), paths.end(), [](const fs::path& a, const fs::path& b) {
    const std::string x = a.filename().string();
    const std::string y = b.filename().string();
    return x.size() != y.size() ? x.size() > y.size() : x > y;
  });
  paths.resize(std::min(paths.size(), kMaxSamples));
  for (const fs::path& path : paths) {
    note_failure(files, [&] {
      std::string text = read_small_file(path);
      if (text.size() > kMaxSampleBytes) {
        text.resize(kMaxSampleBytes);
        text += "\n[cut here]";
      }
      files.samples.push_back({.name = path.filename().string(), .text = std::move(text)});
    });
  }
}

void read_environment(RunFiles& files, const fs::path& path) {
  const format::Json json = format::parse_json(read_small_file(path), path.filename().string());
  if (!json.is_object()) throw DataError(path.filename().string() + ": expected a JSON object");
  for (const auto& [key, value] : json.items()) {
    files.environment.emplace_back(
        key, value.is_string() ? value.get<std::string>() : format::json_text(value));
  }
}

}  // namespace

RunFiles read_run(const fs::path& run) {
  RunFiles files;
  files.name = name_of_folder(run);
  note_failure(files, [&] {
    files.metrics = read_metrics(run / "metrics.jsonl");
    files.notes.insert(files.notes.end(), files.metrics.notes.begin(), files.metrics.notes.end());
  });
  note_failure(files, [&] { read_config(files, run); });
  note_failure(files, [&] { read_samples(files, run / "samples"); });
  note_failure(files, [&] { read_environment(files, run / "environment.json"); });
  return files;
}

}  // namespace switchyard::telemetry
