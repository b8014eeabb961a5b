#include "switchyard/train/run_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "switchyard/config/folders.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"

namespace switchyard::train {
namespace fs = std::filesystem;
namespace {

constexpr const char* kLockName = "run.lock";

std::string pid_in(const fs::path& lock) {
  try {
    std::string text = read_file(lock);
    while (!text.empty() && text.back() == '\n') text.pop_back();
    return text.empty() ? "unknown" : text;
  } catch (const StorageError&) {
    return "unknown";
  }
}

// The kernel drops the lock when the process ends, however it ends: no lock is ever stale.
int take_lock(const fs::path& folder) {
  const fs::path file = folder / kLockName;
  const int descriptor = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (descriptor < 0) {
    throw StorageError(fmt::format("cannot open {}: {}", file.string(), std::strerror(errno)));
  }
  if (::flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
    const int reason = errno;
    ::close(descriptor);
    if (reason != EWOULDBLOCK) {
      throw StorageError(fmt::format("cannot lock {}: {}", file.string(), std::strerror(reason)));
    }
    throw UsageError(
        fmt::format("process {} is working in the run folder {}", pid_in(file), folder.string()),
        "wait for it, or choose another folder with run.dir=...");
  }
  const std::string pid = std::to_string(::getpid()) + "\n";
  if (::ftruncate(descriptor, 0) != 0 ||
      ::pwrite(descriptor, pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size())) {
    const int reason = errno;
    ::close(descriptor);
    throw StorageError(fmt::format("cannot write {}: {}", file.string(), std::strerror(reason)));
  }
  return descriptor;
}

void make_folder(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) {
    throw StorageError(
        fmt::format("cannot make the folder {}: {}", path.string(), error.message()));
  }
}

}  // namespace

RunFolder RunFolder::create(const fs::path& path) {
  make_folder(path);
  RunFolder folder(path, take_lock(path));
  if (config::holds_run(path)) {
    throw UsageError(fmt::format("{} already holds a run", path.string()),
                     "choose another folder with run.dir=...; a run never overwrites another");
  }
  make_folder(folder.checkpoints());
  make_folder(folder.samples());
  return folder;
}

RunFolder::RunFolder(RunFolder&& other) noexcept
    : path_(std::move(other.path_)), lock_(std::exchange(other.lock_, -1)) {}

RunFolder::~RunFolder() {
  if (lock_ >= 0) ::close(lock_);
}

void RunFolder::write_config(std::string_view yaml) const {
  write_file_atomically(path_ / config::kResolvedConfigName, yaml);
}

void RunFolder::write_environment(std::string_view json) const {
  write_file_atomically(path_ / "environment.json", json);
}

void RunFolder::write_sample(std::int64_t step, std::string_view text) const {
  write_file_atomically(samples() / fmt::format("step-{:06}.txt", step), text);
}

}  // namespace switchyard::train
