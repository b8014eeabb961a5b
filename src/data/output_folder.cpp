#include "data/output_folder.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <string>
#include <system_error>
#include <utility>

#include "switchyard/core/error.h"
#include "switchyard/core/file.h"
#include "switchyard/core/log.h"
#include "switchyard/data/prepared_data.h"

namespace switchyard::data {
namespace {

namespace fs = std::filesystem;

std::string marker_of(const fs::path& output) {
  return fmt::format(".{}.partial-", output.filename().string());
}

fs::path parent_of(const fs::path& output) {
  return output.has_parent_path() ? output.parent_path() : fs::path(".");
}

// What a killed run left behind.
void remove_stale(const fs::path& output) {
  const std::string marker = marker_of(output);
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(parent_of(output), error)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(marker)) continue;
    int pid = 0;
    const char* const end = name.data() + name.size();
    const auto parsed = std::from_chars(name.data() + marker.size(), end, pid);
    if (parsed.ec != std::errc{} || parsed.ptr != end || pid <= 0) continue;
    if (::kill(pid, 0) == 0 || errno != ESRCH) continue;
    log::info("removing {}, left by a run that was stopped", entry.path().string());
    fs::remove_all(entry.path(), error);
  }
}

}  // namespace

OutputFolder::OutputFolder(fs::path output, bool overwrite) : output_(std::move(output)) {
  if (output_.filename().empty()) output_ = output_.parent_path();  // "data/" is "data"
  if (output_.empty() || output_.filename() == "." || output_.filename() == "..") {
    throw UsageError("--output: name the folder to write");
  }
  std::error_code error;
  const bool prepared = fs::exists(output_ / kSidecarName);
  if (fs::exists(output_) && !(fs::is_directory(output_) && fs::is_empty(output_, error))) {
    if (!prepared) {
      throw UsageError(
          fmt::format("--output: {} exists and holds no prepared data", output_.string()),
          "choose a new folder");
    }
    if (!overwrite) {
      throw UsageError(fmt::format("--output: {} already holds prepared data", output_.string()),
                       "--overwrite replaces it");
    }
  }
  fs::create_directories(parent_of(output_), error);
  remove_stale(output_);
  temporary_ = parent_of(output_) / fmt::format("{}{}", marker_of(output_), ::getpid());
  fs::remove_all(temporary_, error);
  if (!fs::create_directory(temporary_, error)) {
    throw StorageError(fmt::format("cannot create {}: {}", temporary_.string(), error.message()));
  }
}

OutputFolder::~OutputFolder() {
  std::error_code ignored;
  if (!temporary_.empty()) fs::remove_all(temporary_, ignored);
}

void OutputFolder::publish() {
  const bool replaces = fs::exists(output_ / kSidecarName);
  fs::path old = temporary_;
  old += "-old";
  if (replaces) {
    // Two renames: for a moment there is no folder, but never a mixture of two.
    std::error_code error;
    fs::rename(output_, old, error);
    if (error) {
      throw StorageError(fmt::format("cannot move {}: {}", output_.string(), error.message()));
    }
  }
  std::error_code ignored;
  try {
    publish_folder(temporary_, output_);
  } catch (const StorageError&) {
    if (replaces) fs::rename(old, output_, ignored);
    throw;
  }
  temporary_.clear();
  if (replaces) fs::remove_all(old, ignored);
}

}  // namespace switchyard::data
