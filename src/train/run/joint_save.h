// One checkpoint that all ranks write: begun together, written by each on its own, at once or
// beside training, and finished together.
#pragma once

#include <atomic>
#include <exception>
#include <filesystem>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <string>

#include "switchyard/checkpoint/checkpoint.h"
#include "switchyard/comm/communicator.h"

namespace switchyard::train {

class JointSave {
 public:
  // A collective. The leader, rank 0, makes the folder; where it cannot, nothing is written and
  // finish() throws what was wrong. `world` must outlive this. Of `request` the others use the plan
  // and the step. `check_place` is asked on the leader before anything is made or published, and
  // throws StorageError where that may not be.
  JointSave(
      comm::Communicator& world, const std::filesystem::path& checkpoints,
      checkpoint::SaveRequest request, std::function<void()> check_place = [] {});
  // What is not finished is given up: waits until nobody writes here any more, and on the leader
  // removes the folder.
  ~JointSave() { given_up_ = true; }
  JointSave(const JointSave&) = delete;
  JointSave& operator=(const JointSave&) = delete;

  // This rank's files, before it returns.
  void write();
  // The same in a thread, out of copies in host memory, so that training may go on: makes the
  // copies. False, with a warning, where memory does not suffice for them.
  [[nodiscard]] bool copy();
  // And begins, after copy().
  void write_beside();
  // Are this rank's files written, or given up?
  [[nodiscard]] bool is_written() const;
  // Waits for them. A collective: on the leader the checkpoint's folder, or the StorageError of any
  // rank, all of which are through then. Elsewhere an empty path.
  std::filesystem::path finish();

  [[nodiscard]] const checkpoint::SaveRequest& request() const { return request_; }

 private:
  struct Written {
    std::string told = {};          // for the leader: digests by file, or an error
    std::exception_ptr error = {};  // the same error, for this rank
  };
  [[nodiscard]] Written write_files(const checkpoint::WritePlan& plan) const;

  comm::Communicator& world_;
  checkpoint::SaveRequest request_;
  std::function<void()> check_place_;
  std::unique_ptr<checkpoint::StartedSave> started_;  // on the leader
  std::exception_ptr cannot_start_;                   // on the leader
  std::filesystem::path folder_;                      // empty: there is none
  std::optional<checkpoint::WritePlan> copy_;
  std::atomic<bool> given_up_ = false;
  Written written_;
  std::future<Written> under_way_;  // last: it is waited for before anything of the above goes
};

}  // namespace switchyard::train
