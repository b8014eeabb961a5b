// One process at a time works in the folder of a run, whichever machine it is on.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>

#include "switchyard/core/file_id.h"

namespace switchyard::train {

// The kernel drops a lock of this machine when the process ends, however it ends: none is ever
// stale. A file system that several machines share may keep such locks apart for each of them; so
// the holder also counts up in the file, and who finds the name of another machine there watches
// for a while whether that goes on.
class RunLock {
 public:
  struct Options {
    std::string machine;  // empty: this one's, until it boots again
    std::chrono::milliseconds beat{10'000};
  };
  // Beats that may fail to come before a holder on another machine is dead.
  static constexpr int kBeatsUntilDead = 12;

  // Takes the lock of the folder, after kBeatsUntilDead beats where another machine did not let go
  // of it. Throws UsageError when another process has it, named with its machine; StorageError.
  RunLock(const std::filesystem::path& folder, const Options& options);
  explicit RunLock(const std::filesystem::path& folder) : RunLock(folder, Options()) {}
  ~RunLock();
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;

  // The process that had it last and ended without letting go: "4711", or "4711 on node3"; empty
  // when there is none.
  [[nodiscard]] const std::string& left_by() const { return left_by_; }
  // Is the folder still the one under its name? Not where it was moved away or replaced.
  [[nodiscard]] bool is_in_place() const;

 private:
  void write_beat(std::uint64_t number) const;
  void beat(const std::stop_token& stop, std::chrono::milliseconds every);

  std::filesystem::path folder_;
  std::optional<FileId> folder_id_;
  std::filesystem::path file_;
  std::string holder_;  // what the file says of this process, without the beat
  int descriptor_ = -1;
  std::string left_by_;
  std::mutex mutex_;
  std::condition_variable_any stopped_;
  std::jthread thread_;  // last: it uses the others
};

}  // namespace switchyard::train
