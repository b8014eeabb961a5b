#include "switchyard/config/folders.h"

#include <fmt/format.h>

#include <algorithm>
#include <system_error>
#include <utility>
#include <vector>

#include "switchyard/core/text.h"

namespace switchyard::config {
namespace {

namespace fs = std::filesystem;

// Calls `visit(entry)` until it returns true; false when it never does or the folder is unreadable.
template <typename Visit>
bool any_entry(const fs::path& folder, const Visit& visit) {
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    if (visit(*entry)) return true;
  }
  return false;
}

bool is_file(const fs::path& path) {
  std::error_code error;
  return fs::is_regular_file(path, error);
}

class FolderProblems {
 public:
  explicit FolderProblems(const Resolved& resolved) : resolved_(resolved) {}

  // The first hint is the one that is shown.
  void add(const std::string& key, const std::string& message, const std::string& hint) {
    const auto origin = resolved_.origin_of_key.find(key);
    const std::string where = origin == resolved_.origin_of_key.end() ? "config" : origin->second;
    lines_.push_back(fmt::format("{}: {}: {}", where, key, message));
    if (hint_.empty()) hint_ = hint;
  }

  void check_data() {
    const DataConfig& data = resolved_.config.data;
    if (!data.path.empty()) check_data("data.path", data.path);
    for (const BlendItem& item : data.blend) check_data("data.blend", item.path);
  }

  void raise_if_any() {
    if (!lines_.empty()) throw ConfigError(std::move(lines_), hint_);
  }

 private:
  void check_data(const std::string& key, const std::string& path) {
    if (holds_prepared_data(path)) return;
    std::error_code error;
    const std::string shown = printable(path);
    const std::string message =
        fs::exists(path, error)
            ? fmt::format("'{}' holds no prepared data set (no {})", shown, kPreparedDataName)
            : fmt::format("no folder '{}'{}", shown, path_suggestion(path));
    add(key, message,
        fmt::format("make one: switchyard prepare --input FILE --tokenizer bpe:4096 --output {}",
                    shown));
  }

  const Resolved& resolved_;
  std::vector<std::string> lines_;
  std::string hint_;
};

}  // namespace

bool holds_prepared_data(const fs::path& folder) {
  return is_file(folder / kPreparedDataName);
}

bool holds_run(const fs::path& folder) {
  return is_file(folder / kResolvedConfigName) && !is_checkpoint(folder);
}

bool is_checkpoint(const fs::path& folder) {
  return is_file(folder / kCheckpointManifestName);
}

bool holds_run_with_checkpoint(const fs::path& folder) {
  return holds_run(folder) &&
         any_entry(folder / kCheckpointsFolderName, [](const fs::directory_entry& entry) {
           return entry.path().filename().string().starts_with("step-") &&
                  is_checkpoint(entry.path());
         });
}

void check_folders_of_run(const Resolved& resolved) {
  FolderProblems problems(resolved);
  problems.check_data();
  if (const std::string& dir = resolved.config.run.dir; holds_run(dir)) {
    problems.add("run.dir", fmt::format("'{}' already holds a run", printable(dir)),
                 fmt::format("choose another folder with run.dir=..., or go on with that run: "
                             "switchyard resume {}",
                             printable(dir)));
  }
  problems.raise_if_any();
}

void check_data_of_run(const Resolved& resolved) {
  FolderProblems problems(resolved);
  problems.check_data();
  problems.raise_if_any();
}

std::string path_suggestion(const fs::path& missing) {
  constexpr std::size_t kMostNames = 1000;
  const fs::path folder = missing.has_parent_path() ? missing.parent_path() : fs::path(".");
  std::vector<std::string> names;
  any_entry(folder, [&](const fs::directory_entry& entry) {
    names.push_back(entry.path().filename().string());
    return names.size() >= kMostNames;
  });
  std::sort(names.begin(), names.end());
  const std::string name = nearest_name(missing.filename().string(), names);
  if (name.empty()) return {};
  return fmt::format(" (did you mean '{}'?)", printable((missing.parent_path() / name).string()));
}

}  // namespace switchyard::config
