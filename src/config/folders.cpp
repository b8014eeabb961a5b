#include "switchyard/config/folders.h"

#include <fmt/format.h>

#include <algorithm>
#include <system_error>
#include <vector>

#include "config/plain_text.h"
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
  const Config& config = resolved.config;
  std::vector<std::string> problems;
  std::string hint;
  const auto add = [&](const std::string& key, const std::string& message) {
    const auto origin = resolved.origin_of_key.find(key);
    const std::string where = origin == resolved.origin_of_key.end() ? "config" : origin->second;
    problems.push_back(fmt::format("{}: {}: {}", where, key, message));
  };
  const auto check_data = [&](const std::string& key, const std::string& path) {
    if (holds_prepared_data(path)) return;
    std::error_code error;
    const std::string shown = printable(path);
    if (fs::exists(path, error)) {
      add(key, fmt::format("'{}' holds no prepared data set (no {})", shown, kPreparedDataName));
    } else {
      add(key, fmt::format("no folder '{}'{}", shown, path_suggestion(path)));
    }
    hint = fmt::format("make one: switchyard prepare --input FILE --tokenizer bpe:4096 --output {}",
                       shown);
  };
  if (!config.data.path.empty()) check_data("data.path", config.data.path);
  for (const BlendItem& item : config.data.blend) check_data("data.blend", item.path);
  if (holds_run(config.run.dir)) {
    add("run.dir", fmt::format("'{}' already holds a run", printable(config.run.dir)));
    if (hint.empty())
      hint = "choose another folder with run.dir=...; a run never overwrites another";
  }
  if (!problems.empty()) throw ConfigError(std::move(problems), hint);
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
