#include "data/output_folder.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <string>
#include <string_view>
#include <system_error>

#include "switchyard/config/folders.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"
#include "switchyard/core/log.h"
#include "switchyard/core/output.h"
#include "switchyard/data/prepared_data.h"

namespace switchyard::data {
namespace {

namespace fs = std::filesystem;

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

// Before the work: whatever may not be replaced is met when the new data set is whole already.
void refuse_what_cannot_be_replaced(const fs::path& output) {
  for (const std::string_view name : config::kDataSetFiles) {
    const fs::path file = output / name;
    std::error_code error;
    if (fs::is_directory(fs::symlink_status(file, error))) {
      throw UsageError(
          fmt::format("--output: {} is a folder; a file of the data set goes there", file.string()),
          "move that folder elsewhere, or choose a new one for the data set");
    }
    // The answer for a file that is marked as immutable; to one that is only read-only a rename
    // does nothing.
    if (::access(file.c_str(), W_OK) != 0 && errno == EPERM) {
      throw StorageError(
          fmt::format("--output: {} may not be replaced: {}", file.string(), std::strerror(EPERM)),
          "`lsattr` shows whether it is marked as immutable");
    }
  }
}

// Gives the files of a new data set their places, if one in `output` waits for that.
void finish_replacing(const fs::path& output) {
  const fs::path incoming = output / config::kIncomingFolderName;
  const fs::path sidecar = incoming / kSidecarName;
  std::error_code ignored;
  if (fs::exists(sidecar)) {
    // Of the old data set only a tokenizer of the other kind has no successor.
    const std::string tokenizer =
        parse_sidecar(read_file(sidecar), sidecar.string()).tokenizer_file;
    for (const char* name : {"tokenizer.model", "tokenizer.json"}) {
      if (tokenizer != name) fs::remove(output / name, ignored);
    }
    // data.json is the first of the list and goes last: until then readers look in both places.
    for (auto name = config::kDataSetFiles.rbegin(); name != config::kDataSetFiles.rend(); ++name) {
      if (fs::exists(incoming / *name)) rename_or_throw(incoming / *name, output / *name);
    }
    sync_folder(output);
  }
  fs::remove(incoming, ignored);  // empty: nothing but a data set was ever in it
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
    // Where earlier versions put the old data set for the moment of a replacement: it may be the
    // only one.
    if (fs::exists(entry.path() / "replaced", error)) {
      throw StorageError(fmt::format("{} holds the data set that a stopped prepare was replacing",
                                     (entry.path() / "replaced").string()),
                         fmt::format("move its files back to {}, or remove it", output.string()));
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
  finish_replacing(output_);
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
  if (!is_new_) refuse_what_cannot_be_replaced(output_);
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

void OutputFolder::publish() {
  publish_folder(temporary_, is_new_ ? output_ : output_ / config::kIncomingFolderName);
  temporary_.clear();
  if (is_new_) return;
  try {
    finish_replacing(output_);
  } catch (const StorageError& error) {
    throw StorageError(
        fmt::format("{}; the new data set is whole and in use all the same", error.what()),
        fmt::format("the rest of its files is in {}; the next prepare gives them their places",
                    (output_ / config::kIncomingFolderName).string()));
  }
}

}  // namespace switchyard::data
