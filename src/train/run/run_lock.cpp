#include "train/run/run_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <sstream>

#include "switchyard/config/folders.h"
#include "switchyard/core/error.h"
#include "switchyard/core/exit_code.h"
#include "switchyard/core/file.h"
#include "switchyard/core/host.h"
#include "switchyard/core/log.h"
#include "switchyard/core/process.h"
#include "switchyard/core/text.h"

namespace switchyard::train {
namespace {

namespace fs = std::filesystem;

// What the file of a lock says: "4711 node3 <boot id> 17".
struct Holder {
  std::string process;
  std::string host;
  std::string machine;
  std::string beat;
  [[nodiscard]] std::string name() const {
    return host.empty() ? process : fmt::format("{} on {}", process, printable(host));
  }
  // Without the beat.
  [[nodiscard]] std::string text() const { return fmt::format("{} {} {}", process, host, machine); }
  bool operator==(const Holder&) const = default;
};

// None when nobody holds it, or the file does not tell.
std::optional<Holder> holder_in(const fs::path& file) {
  Holder holder;
  try {
    std::istringstream text(read_file(file));
    text >> holder.process >> holder.host >> holder.machine >> holder.beat;
  } catch (const StorageError&) {
    return std::nullopt;
  }
  const bool is_number = !holder.process.empty() &&
                         holder.process.find_first_not_of("0123456789") == std::string::npos;
  return is_number ? std::optional(holder) : std::nullopt;
}

UsageError in_use(const std::string& by, const fs::path& folder) {
  return UsageError(fmt::format("process {} is working in the run folder {}", by, folder.string()),
                    "wait for it, or choose another folder with run.dir=...");
}

int open_locked(const fs::path& file, const fs::path& folder) {
  const int descriptor = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (descriptor < 0) {
    throw StorageError(fmt::format("cannot open {}: {}", file.string(), std::strerror(errno)));
  }
  if (::flock(descriptor, LOCK_EX | LOCK_NB) == 0) return descriptor;
  const int reason = errno;
  ::close(descriptor);
  if (reason != EWOULDBLOCK) {
    throw StorageError(fmt::format("cannot lock {}: {}", file.string(), std::strerror(reason)));
  }
  const auto holder = holder_in(file);
  throw in_use(holder ? holder->name() : "(unknown)", folder);
}

// Does the file change for so long? Opened anew each time, so that a shared file system looks too.
bool beats_go_on(const fs::path& file, const Holder& holder, std::chrono::milliseconds during) {
  const auto end = std::chrono::steady_clock::now() + during;
  while (std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(during / 20);
    const auto now = holder_in(file);
    if (now && *now != holder) return true;
  }
  return false;
}

}  // namespace

RunLock::RunLock(const fs::path& folder, const Options& options)
    : folder_(folder), folder_id_(file_id(folder)), file_(folder / config::kRunLockName) {
  const std::string machine = options.machine.empty() ? machine_id() : options.machine;
  holder_ = Holder{std::to_string(::getpid()), host_name(), machine, ""}.text();
  descriptor_ = open_locked(file_, folder);
  try {
    bool is_elsewhere = false;
    if (const auto last = holder_in(file_)) {
      is_elsewhere = !last->machine.empty() && last->machine != machine;
      left_by_ = is_elsewhere ? last->name() : last->process;
      if (is_elsewhere) {
        const auto patience = kBeatsUntilDead * options.beat;
        log::info("{}: process {} did not let go of it; waiting {} s for a sign of life",
                  folder.string(), left_by_, std::chrono::duration<double>(patience).count());
        if (beats_go_on(file_, *last, patience)) throw in_use(left_by_, folder);
      }
    }
    write_beat(0);
    if (is_elsewhere) {  // another may have waited as long
      std::this_thread::sleep_for(options.beat / 2);
      const auto now = holder_in(file_);
      if (now && now->text() != holder_) throw in_use(now->name(), folder);
    }
  } catch (...) {
    ::close(descriptor_);
    throw;
  }
  thread_ = std::jthread(
      [this, every = options.beat](const std::stop_token& stop) { beat(stop, every); });
}

RunLock::~RunLock() {
  thread_.request_stop();
  thread_.join();
  if (::ftruncate(descriptor_, 0) != 0) {  // the name then stays, which costs a note or a wait
  }
  ::close(descriptor_);
}

bool RunLock::is_in_place() const {
  return file_id(folder_) == folder_id_;
}

void RunLock::write_beat(std::uint64_t number) const {
  // In place: who reads meanwhile sees the holder. A shared file system keeps what is written to
  // itself for a while, unless it is told not to.
  const std::string text = fmt::format("{} {}\n", holder_, number);
  if (::pwrite(descriptor_, text.data(), text.size(), 0) == static_cast<ssize_t>(text.size()) &&
      ::ftruncate(descriptor_, static_cast<off_t>(text.size())) == 0 &&
      ::fdatasync(descriptor_) == 0) {
    return;
  }
  throw StorageError(fmt::format("cannot write {}: {}", file_.string(), std::strerror(errno)));
}

// A disk that is full for a while costs beats, nothing else.
void RunLock::beat(const std::stop_token& stop, std::chrono::milliseconds every) {
  take_no_signals();
  std::unique_lock lock(mutex_);
  for (std::uint64_t number = 1;; ++number) {
    stopped_.wait_for(lock, stop, every, [&] { return stop.stop_requested(); });
    if (stop.stop_requested()) return;
    // Whoever took this process for dead works in the folder now; nothing more may be written. (Not
    // so where it is another folder by now that has its name: RunFolder::check_in_place.)
    const bool was_in_place = is_in_place();
    const auto holder = holder_in(file_);
    if (was_in_place && holder && holder->text() != holder_ && is_in_place()) {
      write_last_words(
          fmt::format("process {} took over {}", holder->name(), file_.string()).c_str());
      std::_Exit(kExitStorage);
    }
    try {
      write_beat(number);
    } catch (const StorageError&) {
    }
  }
}

}  // namespace switchyard::train
