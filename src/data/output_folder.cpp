#include "data/output_folder.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <string>
#include <system_error>
#include <utility>

#include "switchyard/config/folders.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"
#include "switchyard/core/log.h"
#include "switchyard/core/output.h"
#include "switchyard/data/prepared_data.h"

namespace switchyard::data {
namespace {

namespace fs = std::filesystem;

constexpr const char* kReplacedName = "replaced";  // in a temporary folder: the old data set

fs::path parent_of(const fs::path& output) {
  return output.has_parent_path() ? output.parent_path() : fs::path(".");
}

std::string marker_of(const fs::path& output) {
  return fmt::format(".{}.partial-", output.filename().string());
}

void rename_or_throw(const fs::path& from, const fs::path& to) {
  std::error_code error;
  fs::rename(from, to, error);
  if (error) {
    throw StorageError(
        fmt::format("cannot move {} to {}: {}", from.string(), to.string(), error.message()));
  }
}

// data.json last: until then the folder holds no data set, never a mixture of two.
void move_data_set(const fs::path& from, const fs::path& to) {
  for (auto name = config::kDataSetFiles.rbegin(); name != config::kDataSetFiles.rend(); ++name) {
    if (fs::exists(from / *name)) rename_or_throw(from / *name, to / *name);
  }
}

// data.json first, for the same reason.
void set_aside_data_set(const fs::path& from, const fs::path& to) {
  for (const std::string_view name : config::kDataSetFiles) {
    if (fs::exists(from / name)) rename_or_throw(from / name, to / name);
  }
}

bool is_left_by_dead(const std::string& name, const std::string& marker) {
  if (!name.starts_with(marker)) return false;
  int pid = 0;
  const char* const end = name.data() + name.size();
  const auto parsed = std::from_chars(name.data() + marker.size(), end, pid);
  if (parsed.ec != std::errc{} || parsed.ptr != end || pid <= 0) return false;
  return ::kill(pid, 0) != 0 && errno == ESRCH;
}

// What a killed run left behind in `folder`.
void remove_stale(const fs::path& folder, const fs::path& output) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    if (!is_left_by_dead(entry.path().filename().string(), marker_of(output))) continue;
    if (fs::exists(entry.path() / kReplacedName) && !fs::exists(output / kSidecarName)) {
      log::info("putting back the data set that a run was replacing when it was stopped");
      move_data_set(entry.path() / kReplacedName, output);
    }
    log::info("removing {}, left by a run that was stopped", entry.path().string());
    fs::remove_all(entry.path(), error);
  }
}

// The folder itself, without a trailing slash, dots or links.
fs::path resolved(const fs::path& given) {
  if (given.empty()) throw UsageError("--output: name the folder to write");
  fs::path output = given.lexically_normal();
  if (!output.has_filename()) output = output.parent_path();  // "data/" is "data"
  output = follow_links(output);
  std::error_code error;
  if (fs::exists(output, error)) return fs::canonical(output, error);
  output = output.lexically_normal();
  if (output.filename().empty()) output = output.parent_path();
  if (output.empty() || output.filename() == "." || output.filename() == "..") {
    throw UsageError("--output: name the folder to write");
  }
  return output;
}

}  // namespace

OutputFolder::OutputFolder(const fs::path& output, bool overwrite) : output_(resolved(output)) {
  std::error_code error;
  is_new_ = !fs::exists(output_, error);
  remove_stale(is_new_ ? parent_of(output_) : output_, output_);
  if (!is_new_ && !(fs::is_directory(output_) && fs::is_empty(output_, error))) {
    if (!fs::exists(output_ / kSidecarName)) {
      throw UsageError(
          fmt::format("--output: {} exists and holds no prepared data", output_.string()),
          "choose a new folder");
    }
    if (!overwrite) {
      throw UsageError(fmt::format("--output: {} already holds prepared data", output_.string()),
                       "--overwrite replaces it");
    }
  }
  const fs::path folder = is_new_ ? parent_of(output_) : output_;
  fs::create_directories(folder, error);
  temporary_ = folder / fmt::format("{}{}", marker_of(output_), ::getpid());
  fs::remove_all(temporary_, error);
  if (!fs::create_directory(temporary_, error)) {
    throw StorageError(fmt::format("cannot create {}: {}", temporary_.string(), error.message()));
  }
}

OutputFolder::~OutputFolder() {
  std::error_code ignored;
  if (!temporary_.empty()) fs::remove_all(temporary_, ignored);
}

bool OutputFolder::replaces(const fs::path& canonical) const {
  if (is_new_ || canonical.parent_path() != output_) return false;
  const std::string name = canonical.filename().string();
  return std::find(config::kDataSetFiles.begin(), config::kDataSetFiles.end(), name) !=
         config::kDataSetFiles.end();
}

void OutputFolder::publish_into_existing() {
  const fs::path old = temporary_ / kReplacedName;
  fs::create_directory(old);
  try {
    set_aside_data_set(output_, old);
    move_data_set(temporary_, output_);
  } catch (const StorageError&) {
    const fs::path kept = std::exchange(temporary_, {});  // it holds the old data set until then
    move_data_set(old, output_);
    temporary_ = kept;
    throw;
  }
  sync_folder(output_);
  std::error_code ignored;
  fs::remove_all(temporary_, ignored);
}

void OutputFolder::publish() {
  if (is_new_) {
    publish_folder(temporary_, output_);
  } else {
    publish_into_existing();
  }
  temporary_.clear();
}

}  // namespace switchyard::data
