#include "switchyard/config/folders.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <set>
#include <system_error>
#include <utility>
#include <vector>

#include "config/yaml/value.h"
#include "switchyard/config/checkpoint_names.h"
#include "switchyard/config/data_folders.h"
#include "switchyard/config/field_table.h"
#include "switchyard/config/finetune_folder.h"
#include "switchyard/core/file.h"
#include "switchyard/core/file_id.h"
#include "switchyard/core/text.h"

namespace switchyard::config {
namespace {

namespace fs = std::filesystem;

constexpr const char* kLogName = "log.txt";
constexpr const char* kEventsPrefix = "events.out.tfevents.";
constexpr std::array<std::string_view, 7> kRunFiles = {
    kResolvedConfigName, kDataFoldersName, "environment.json", "metrics.jsonl", kLogName,
    kRunLockName,        kOriginName};

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

// Of the run of one seed of a finetune.
bool is_finetune_result(const fs::path& file) {
  const std::string name = file.filename().string();
  return name == kSeedResultsName ||
         (name.starts_with(kPredictionsPrefix) && name.ends_with(".tsv") && is_file(file));
}

class FolderProblems {
 public:
  // `run`: of a run that goes on; empty for a new one.
  explicit FolderProblems(const Resolved& resolved, fs::path run = {})
      : resolved_(resolved), run_(std::move(run)) {}

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
    const std::string shown = printable_line(path);
    std::string message =
        fs::exists(path, error)
            ? fmt::format("'{}' holds no prepared data set (no {})", shown, kPreparedDataName)
            : fmt::format("no folder '{}'{}", shown, path_suggestion(path));
    if (run_.empty()) {
      add(key, message,
          fmt::format("make one: switchyard prepare --input FILE --tokenizer bpe:4096 --output {}",
                      shell_path(path)));
      return;
    }
    std::set<fs::path> named{path};
    for (const fs::path& place : remembered_places(path, run_)) {
      if (!named.insert(place).second) continue;
      message += fmt::format(", nor in '{}'", printable_line(place.string()));
    }
    // Never a new `prepare`: the run can only go on with the data that it began with.
    const std::string value =
        key == "data.path" ? "FOLDER" : value_text(*find_field(key), resolved_.config);
    add(key, message,
        fmt::format("say where the run's data is now: switchyard resume {} {}",
                    shell_path(run_.string()), shell_quoted(key + "=" + value)));
  }

  const Resolved& resolved_;
  fs::path run_;
  std::vector<std::string> lines_;
  std::string hint_;
};

}  // namespace

fs::path data_set_file(const fs::path& folder, std::string_view name) {
  const fs::path incoming = folder / kIncomingFolderName;
  const bool replaces = is_file(incoming / kPreparedDataName);
  return replaces && is_file(incoming / name) ? incoming / name : folder / name;
}

bool holds_prepared_data(const fs::path& folder) {
  // Between the two looks a replacement may have given the file its place.
  return is_file(data_set_file(folder, kPreparedDataName)) || is_file(folder / kPreparedDataName);
}

bool holds_prepared_data(const DataConfig& data) {
  if (!data.path.empty()) return holds_prepared_data(fs::path(data.path));
  return !data.blend.empty() &&
         std::all_of(data.blend.begin(), data.blend.end(), [](const BlendItem& item) {
           return holds_prepared_data(fs::path(item.path));
         });
}

bool holds_run(const fs::path& folder) {
  return is_file(folder / kResolvedConfigName) && !is_checkpoint(folder);
}

bool holds_finetune(const fs::path& folder) {
  return is_file(folder / kFinetuneName);
}

fs::path finetune_of_seed(const fs::path& run) {
  std::error_code error;
  const fs::path folder = fs::weakly_canonical(run, error);
  if (error || !folder.filename().string().starts_with("seed-")) return {};
  // TASK/seed-N, or TASK/lr-RATE/seed-N
  const fs::path of_task = folder.parent_path().parent_path();
  for (const fs::path& output : {of_task, of_task.parent_path()}) {
    if (!holds_finetune(output)) continue;
    const bool is_of_baseline = output.filename() == "baseline" && holds_finetune(output / "..");
    return is_of_baseline ? output.parent_path() : output;
  }
  return {};
}

bool is_checkpoint(const fs::path& folder) {
  return is_file(folder / kCheckpointManifestName);
}

bool is_our_output(const fs::path& path) {
  const std::optional<FileId> file = file_id(path);
  return file && (file == file_id(STDOUT_FILENO) || file == file_id(STDERR_FILENO));
}

bool holds_run_with_checkpoint(const fs::path& folder) {
  return holds_run(folder) &&
         any_entry(folder / kCheckpointsFolderName, [](const fs::directory_entry& entry) {
           return step_in_name(entry.path().filename().string()) && is_checkpoint(entry.path());
         });
}

bool is_run_file(std::string_view name) {
  return std::find(kRunFiles.begin(), kRunFiles.end(), name) != kRunFiles.end();
}

std::vector<std::string> foreign_to_a_new_run(const fs::path& folder) {
  std::vector<std::string> names;
  const bool was_started = is_file(folder / kRunLockName);
  any_entry(folder, [&](const fs::directory_entry& entry) {
    const std::string name = entry.path().filename().string();
    std::error_code error;
    const auto temporary = parse_temporary_name(name);
    const bool is_of_run = is_run_file(temporary ? temporary->final_name : name);
    const bool left_by_start = (was_started && is_of_run) ||
                               ((name == kCheckpointsFolderName || name == kSamplesFolderName) &&
                                entry.is_directory(error) && fs::is_empty(entry.path(), error));
    const bool harmless = name.starts_with('.') || name == "lost+found";
    if (!left_by_start && !harmless && !is_our_output(entry.path())) names.push_back(name);
    return false;
  });
  std::sort(names.begin(), names.end());
  return names;
}

std::optional<std::string> problem_of_run_folder(const fs::path& folder) {
  const std::string shown = printable_line(folder.string());
  std::error_code error;
  if (fs::exists(folder, error) && !fs::is_directory(folder, error)) {
    return fmt::format("'{}' is a file; expected a folder", shown);
  }
  if (holds_run(folder)) return fmt::format("'{}' already holds a run", shown);
  if (holds_prepared_data(folder)) return fmt::format("'{}' holds a prepared data set", shown);
  if (is_checkpoint(folder)) return fmt::format("'{}' is a checkpoint", shown);
  const std::vector<std::string> names = foreign_to_a_new_run(folder);
  if (names.empty()) return std::nullopt;
  constexpr std::size_t kMostShown = 5;
  std::vector<std::string> few;
  for (const std::string& name : names) {
    if (few.size() < kMostShown) few.push_back(printable(name));
  }
  const std::string more =
      names.size() > kMostShown ? fmt::format(" and {} more", names.size() - kMostShown) : "";
  return fmt::format("'{}' holds what is no part of a run: {}{}", shown, join(few, ", "), more);
}

std::string owner_of_file(const fs::path& path) {
  std::error_code error;
  const fs::path real = fs::weakly_canonical(fs::absolute(path, error), error);
  if (error) return {};
  const std::string name = real.filename().string();
  const fs::path folder = real.parent_path();
  const auto one_of = [&name](const auto& names) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  const auto called = [](const char* what, const fs::path& owner) {
    return fmt::format("the {} '{}'", what, printable_line(owner.string()));
  };
  if (is_checkpoint(folder)) return called("checkpoint", folder);
  if (holds_run(folder) &&
      (is_run_file(name) || name.starts_with(kEventsPrefix) || is_finetune_result(real))) {
    return called("run", folder);
  }
  const std::string inside = folder.filename().string();
  if (holds_run(folder.parent_path()) &&
      (inside == kCheckpointsFolderName || inside == kSamplesFolderName)) {
    return called("run", folder.parent_path());
  }
  if (holds_prepared_data(folder) && one_of(kDataSetFiles)) return called("data set", folder);
  if (holds_finetune(folder) && one_of(kFinetuneFiles)) {
    return called("output of finetune", folder);
  }
  if (inside == kSubmissionFolderName && holds_finetune(folder.parent_path())) {
    return called("output of finetune", folder.parent_path());
  }
  return {};
}

std::optional<std::string> problem_of_tilde(std::string_view path) {
  if (!path.starts_with('~')) return std::nullopt;
  const char* const home = std::getenv("HOME");
  const bool own = path == "~" || path.starts_with("~/");
  const std::string meant = own && home != nullptr && *home != '\0'
                                ? fmt::format("{}{}", home, path.substr(1))
                                : std::string("the whole path");
  return fmt::format("'{}': shells expand a ~ only where a word begins; write {} (or ./{})",
                     printable_line(path), printable_line(meant), printable_line(path));
}

void check_folders_of_run(const Resolved& resolved) {
  FolderProblems problems(resolved);
  problems.check_data();
  const std::string& dir = resolved.config.run.dir;
  if (const auto problem = problem_of_run_folder(dir)) {
    problems.add("run.dir", *problem,
                 holds_run(dir)
                     ? fmt::format("choose another folder with run.dir=..., or go on with that "
                                   "run: switchyard resume {}",
                                   shell_path(dir))
                     : "choose a folder of its own with run.dir=...");
  }
  problems.raise_if_any();
}

void check_data_of_run(const Resolved& resolved, const fs::path& run) {
  FolderProblems problems(resolved, run);
  problems.check_data();
  problems.raise_if_any();
}

std::string path_suggestion(const fs::path& path) {
  constexpr std::size_t kMostNames = 1000;
  const fs::path missing = path.has_filename() ? path : path.parent_path();  // "runs/a/"
  const fs::path folder = missing.has_parent_path() ? missing.parent_path() : fs::path(".");
  std::vector<std::string> names;
  any_entry(folder, [&](const fs::directory_entry& entry) {
    names.push_back(entry.path().filename().string());
    return names.size() >= kMostNames;
  });
  std::sort(names.begin(), names.end());
  const std::string name = nearest_name(missing.filename().string(), names);
  if (name.empty()) return {};
  return fmt::format(" (did you mean '{}'?)",
                     printable_line((missing.parent_path() / name).string()));
}

}  // namespace switchyard::config
