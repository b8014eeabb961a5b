#include "data/output_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "switchyard/config/folders.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"
#include "switchyard/core/file_id.h"
#include "switchyard/core/hash.h"
#include "switchyard/core/host.h"
#include "switchyard/core/log.h"
#include "switchyard/core/output.h"
#include "switchyard/data/prepared_data.h"

namespace switchyard::data {
namespace {

namespace fs = std::filesystem;

fs::path parent_of(const fs::path& output) {
  return output.has_parent_path() ? output.parent_path() : fs::path(".");
}

// What cannot be looked at is not taken for a place where nothing is.
bool is_there(const fs::path& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (status.type() == fs::file_type::none) {
    throw StorageError(fmt::format("cannot look at {}: {}", path.string(), error.message()));
  }
  return fs::exists(status);
}

// Names of temporary folders: the marker, the process and this_machine(), and a number that makes
// them differ where processes of several containers have the same one.
std::string marker_of(const fs::path& output) {
  constexpr std::size_t kLongest = 200;  // of 255 bytes that a name may have
  const std::string name = output.filename().string();
  return fmt::format(".{}.partial-", name.size() <= kLongest ? name : to_hex(xxh3(name)));
}

std::string this_machine() {
  return to_hex(xxh3(machine_id())).substr(0, 8);
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
  if (is_there(sidecar)) {
    // Of the old data set only a tokenizer of the other kind has no successor.
    const std::string tokenizer =
        parse_sidecar(read_file(sidecar), sidecar.string()).tokenizer_file;
    for (const char* name : {"tokenizer.model", "tokenizer.json"}) {
      if (tokenizer != name) fs::remove(output / name, ignored);
    }
    // data.json is the first of the list and goes last: until then readers look in both places.
    for (auto name = config::kDataSetFiles.rbegin(); name != config::kDataSetFiles.rend(); ++name) {
      if (is_there(incoming / *name)) rename_or_throw(incoming / *name, output / *name);
    }
    sync_folder(output);
  }
  fs::remove(incoming, ignored);  // empty: nothing but a data set was ever in it
}

// Is it one of this machine? The locks of another one may be unknown here.
bool is_of_this_machine(std::string_view name, std::string_view marker) {
  const std::size_t dash = name.find('-', marker.size());
  return dash != std::string_view::npos && name.substr(dash + 1).starts_with(this_machine() + "-");
}

enum class Locked {
  kYes,
  kNo,       // another process has it, or has removed it
  kUnknown,  // the file system has no locks
};

Locked lock(int descriptor, const fs::path& folder) {
  if (::flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
    return errno == EWOULDBLOCK ? Locked::kNo : Locked::kUnknown;
  }
  return file_id(descriptor) == file_id(folder) ? Locked::kYes : Locked::kNo;
}

int open_folder(const fs::path& folder) {
  return ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

// False where a process may be working in it.
bool remove_unlocked(const fs::path& folder) {
  const int descriptor = open_folder(folder);
  if (descriptor < 0) return false;
  const bool is_left = lock(descriptor, folder) == Locked::kYes;
  if (is_left) {
    log::info("removing {}, left by a run that was stopped", folder.string());
    std::error_code ignored;
    fs::remove_all(folder, ignored);
  }
  ::close(descriptor);
  return is_left;
}

// What a killed run left behind in `folder`.
void remove_stale(const fs::path& folder, const fs::path& output) {
  const std::string marker = marker_of(output);
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(marker)) continue;
    // Where earlier versions put the old data set for the moment of a replacement: it may be the
    // only one.
    if (fs::exists(entry.path() / "replaced", error)) {
      throw StorageError(fmt::format("{} holds the data set that a stopped prepare was replacing",
                                     (entry.path() / "replaced").string()),
                         fmt::format("move its files back to {}, or remove it", output.string()));
    }
    if (is_of_this_machine(name, marker) && remove_unlocked(entry.path())) continue;
    log::info("{} stays: a prepare may be working there; remove it if none is",
              entry.path().string());
  }
}

// The folder itself, without a trailing slash, dots or links.
fs::path resolved(const fs::path& given) {
  if (given.empty()) throw UsageError("--output: name the folder to write");
  fs::path output = given.lexically_normal();
  if (!output.has_filename()) output = output.parent_path();  // "data/" is "data"
  output = follow_links(output);
  std::error_code error;
  if (is_there(output)) return fs::canonical(output, error);
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
  is_new_ = !is_there(output_);
  finish_replacing(output_);
  remove_stale(is_new_ ? parent_of(output_) : output_, output_);
  if (!is_new_ && !(fs::is_directory(output_, error) && fs::is_empty(output_, error))) {
    if (!is_there(output_ / kSidecarName)) {
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
  make_temporary(folder);
}

OutputFolder::~OutputFolder() {
  std::error_code ignored;
  if (!temporary_.empty()) fs::remove_all(temporary_, ignored);
  if (lock_ >= 0) ::close(lock_);
}

void OutputFolder::make_temporary(const fs::path& folder) {
  constexpr int kAttempts = 1000;
  const std::string marker = marker_of(output_);
  std::error_code error;
  for (int attempt = 0; attempt < kAttempts && !error; ++attempt) {
    temporary_ = folder / fmt::format("{}{}-{}-{}", marker, ::getpid(), this_machine(), attempt);
    if (!fs::create_directory(temporary_, error)) continue;  // another container's of that number
    lock_ = open_folder(temporary_);
    if (lock_ >= 0 && lock(lock_, temporary_) != Locked::kNo) return;
    // Between the two calls another process has taken it for one that was left.
    if (lock_ >= 0) {
      ::close(std::exchange(lock_, -1));
    } else if (errno != ENOENT) {
      error.assign(errno, std::generic_category());
      ::rmdir(temporary_.c_str());
    }
  }
  throw StorageError(
      fmt::format("cannot create {}: {}", temporary_.string(),
                  error ? error.message() : "other processes take all names for theirs"));
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
