// One checkpoint that all ranks write: begun together, written by each on its own, at once or
// beside training, and finished together.
#pragma once

#include <exception>
#include <filesystem>
#include <future>
#include <memory>
#include <string>

#include "switchyard/checkpoint/checkpoint.h"
#include "switchyard/comm/communicator.h"

namespace switchyard::train {

class JointSave {
 public:
  // A collective. The leader, rank 0, makes the folder; where it cannot, nothing is written and
  // finish() throws what was wrong. `world` must outlive this. Of `request` the others use the plan
  // and the step.
  JointSave(comm::Communicator& world, const std::filesystem::path& checkpoints,
            checkpoint::SaveRequest request);
  // Waits for this rank's files. What is not finished is removed.
  ~JointSave() = default;
  JointSave(const JointSave&) = delete;
  JointSave& operator=(const JointSave&) = delete;

  // This rank's files: before it returns, or ...
  void write();
  // ... in a thread, out of copies in host memory that are made before it returns, so that training
  // may go on. Where memory does not suffice for the copies, this is write() and a warning.
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
  std::unique_ptr<checkpoint::StartedSave> started_;  // on the leader
  std::exception_ptr cannot_start_;                   // on the leader
  std::filesystem::path folder_;                      // empty: there is none
  Written written_;
  std::future<Written> under_way_;  // last: it is waited for before anything of the above goes
};

}  // namespace switchyard::train
