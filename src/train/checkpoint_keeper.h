// Writes a run's checkpoints and keeps the newest few and the best.
#pragma once

#include <cstdint>
#include <exception>
#include <filesystem>

#include "switchyard/checkpoint/checkpoint.h"

namespace switchyard::train {

class CheckpointKeeper {
 public:
  CheckpointKeeper(std::filesystem::path folder, std::int64_t keep_last);

  // The run goes on from this checkpoint.
  void start_from(const checkpoint::Checkpoint& checkpoint);

  // Throws StorageError when the disk has less than twice the room that this checkpoint needs.
  void check_free_space(const checkpoint::SaveRequest& request) const;

  // Saves, then removes all but the newest keep_last and the best. A full disk need not end a run:
  // a failure is logged, and thrown only when it is the third in a row.
  void save(const checkpoint::SaveRequest& request);
  // Throws the error of the last save, if it failed.
  void check_last_save() const;
  // The step that was saved last is the best so far: it is kept until there is a better one.
  void mark_best();

  [[nodiscard]] const std::filesystem::path& last() const { return last_; }
  [[nodiscard]] std::int64_t last_step() const { return last_step_; }  // -1 before the first
  [[nodiscard]] std::filesystem::path best() const;                    // empty when none is marked

 private:
  void remove_old() const;

  std::filesystem::path folder_;
  std::int64_t keep_last_;
  std::filesystem::path last_;
  std::int64_t last_step_ = -1;
  std::exception_ptr failure_;
  int num_failures_in_a_row_ = 0;
};

}  // namespace switchyard::train
