#include "switchyard/train/run_folder.h"

#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <utility>

#include "switchyard/config/checkpoint_names.h"
#include "switchyard/config/data_folders.h"
#include "switchyard/config/finetune_folder.h"
#include "switchyard/config/folders.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"
#include "switchyard/core/hash.h"
#include "switchyard/core/output.h"
#include "switchyard/telemetry/report.h"
#include "train/run/run_lock.h"

namespace switchyard::train {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view kSampleEnding = ".txt";

// In the run's folder, in `checkpoints` and in `samples`.
bool is_only_of_run(std::string_view name) {
  return config::is_run_file(name) || name == config::kLatestPointer ||
         name == config::kBestPointer ||
         (name.ends_with(kSampleEnding) &&
          config::is_step_name(name.substr(0, name.size() - kSampleEnding.size())));
}

// Files that a run leaves behind and that `report` and `predict` may be writing beside it.
bool is_shared(std::string_view name) {
  return name == telemetry::kReportName || name == config::kSeedResultsName ||
         (name.starts_with(config::kPredictionsPrefix) && name.ends_with(".tsv"));
}

// On this machine. What is of this process is of an earlier one that had its number.
bool is_of_living_process(const TemporaryName& name) {
  const auto process = static_cast<pid_t>(name.process);
  return process != ::getpid() && (::kill(process, 0) == 0 || errno == EPERM);
}

// Temporary files of the run's own writes that were killed; whatever else is called so stays.
void remove_temporary_files(const fs::path& folder) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    const auto temporary = parse_temporary_name(name);
    if (!temporary || !entry.is_regular_file(error)) continue;
    if (is_only_of_run(temporary->final_name) ||
        (is_shared(temporary->final_name) && !is_of_living_process(*temporary))) {
      fs::remove(entry.path(), error);
    }
  }
}

// Where a link leads to nothing yet, the folder is made there and the link stays.
void make_folder(const fs::path& path) {
  std::error_code error;
  fs::create_directories(follow_links(path), error);
  if (error) {
    throw StorageError(
        fmt::format("cannot make the folder {}: {}", path.string(), error.message()));
  }
}

void refuse_unless_free(const fs::path& path) {
  if (const auto problem = config::problem_of_run_folder(path)) {
    throw UsageError(*problem,
                     "choose another folder with run.dir=...; a run never overwrites another, nor "
                     "files that are not its own");
  }
}

// The outermost folder that making `path` makes; empty when `path` is there.
fs::path first_missing(fs::path path) {
  std::error_code error;
  fs::path missing;
  path = follow_links(path);
  while (!path.empty() && !fs::exists(path, error)) {
    missing = path;
    if (path == path.parent_path()) break;
    path = path.parent_path();
  }
  return missing;
}

// Takes away what create() made, as long as nothing else is in it.
void remove_start(const fs::path& path, const fs::path& topmost_new) {
  std::error_code error;
  // Not remove_all: somebody may have put something there.
  for (const char* folder : {config::kCheckpointsFolderName, config::kSamplesFolderName}) {
    fs::remove(path / folder, error);
  }
  for (const char* file : {"environment.json", config::kDataFoldersName, "metrics.jsonl", "log.txt",
                           config::kOriginName, config::kRunLockName}) {
    fs::remove(path / file, error);
  }
  if (topmost_new.empty()) return;
  fs::path at;
  try {
    at = follow_links(path);
  } catch (const StorageError&) {  // it leads elsewhere by now
    return;
  }
  for (; fs::remove(at, error) && at != topmost_new; at = at.parent_path()) {
  }
}

// In a comment, so that the file stays YAML.
constexpr std::string_view kChecksum = "# checksum of the lines above: ";

std::string with_checksum(std::string_view yaml) {
  return fmt::format("{}{}{}\n", yaml, kChecksum, to_hex(xxh3(yaml)));
}

}  // namespace

RunFolder::RunFolder() = default;

RunFolder::RunFolder(fs::path path) : path_(std::move(path)) {
  lock_ = std::make_unique<RunLock>(path_);
}

RunFolder RunFolder::create(const fs::path& path) {
  // Before the lock, whose file would be left in a folder that is none of ours.
  refuse_unless_free(path);
  const fs::path named = path.has_filename() ? path : path.parent_path();  // "runs/a/" is "runs/a"
  const fs::path topmost_new = first_missing(named);
  make_folder(named);
  RunFolder folder(named);
  folder.topmost_new_ = topmost_new;
  folder.started_here_ = true;
  refuse_unless_free(path);
  // Of a start that was killed, which may have begun with other weights.
  std::error_code error;
  if (!fs::remove(named / config::kOriginName, error) && error) {
    throw StorageError(fmt::format("cannot remove {}: {}", (named / config::kOriginName).string(),
                                   error.message()));
  }
  make_folder(folder.checkpoints());
  make_folder(folder.samples());
  return folder;
}

RunFolder RunFolder::reopen(const fs::path& path) {
  if (!config::holds_run(path)) {
    throw UsageError(fmt::format("{} holds no run", path.string()),
                     "`switchyard pretrain` starts one");
  }
  RunFolder folder(path);
  make_folder(folder.checkpoints());
  make_folder(folder.samples());
  for (const fs::path& each : {path, folder.checkpoints(), folder.samples()}) {
    remove_temporary_files(each);
  }
  return folder;
}

RunFolder RunFolder::of_another_rank(const fs::path& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) {
    throw StorageError(
        fmt::format("{} is not there, though another rank has just opened it", path.string()),
        "all ranks of a run need the same file system");
  }
  RunFolder folder;
  folder.path_ = path;
  return folder;
}

RunFolder::RunFolder(RunFolder&& other) noexcept
    : path_(std::move(other.path_)),
      lock_(std::move(other.lock_)),
      topmost_new_(std::move(other.topmost_new_)),
      started_here_(other.started_here_) {}

RunFolder::~RunFolder() {
  const bool is_ours = lock_ && started_here_ && lock_->is_in_place();
  if (is_ours && !config::holds_run(path_)) remove_start(path_, topmost_new_);
}

std::string RunFolder::left_by() const {
  return lock_ ? lock_->left_by() : std::string();
}

void RunFolder::check_in_place() const {
  if (!lock_ || lock_->is_in_place()) return;
  throw StorageError(
      fmt::format("{} is no longer the folder that this run began in: it was moved, removed or "
                  "replaced",
                  path_.string()),
      "move it back; until then nothing is written there");
}

fs::path RunFolder::config_file() const {
  return path_ / config::kResolvedConfigName;
}

void RunFolder::write_config(std::string_view yaml) const {
  check_in_place();
  write_file_atomically(config_file(), with_checksum(yaml));
}

bool RunFolder::has_config_as_written() const {
  const std::string text = read_file(config_file());
  return with_checksum(std::string_view(text).substr(0, text.rfind(kChecksum))) == text;
}

void RunFolder::write_data_folders(std::string_view yaml) const {
  check_in_place();
  write_file_atomically(path_ / config::kDataFoldersName, yaml);
}

void RunFolder::write_environment(std::string_view json) const {
  check_in_place();
  write_file_atomically(path_ / "environment.json", json);
}

void RunFolder::write_sample(std::int64_t step, std::string_view text) const {
  check_in_place();
  write_file_atomically(sample_file(step), text);
}

fs::path RunFolder::sample_file(std::int64_t step) const {
  return samples() / fmt::format("{}{}", config::step_name(step), kSampleEnding);
}

}  // namespace switchyard::train
