// Writes a run's checkpoints and keeps the newest few.
#pragma once

#include <cstdint>
#include <exception>
#include <filesystem>

#include "switchyard/checkpoint/checkpoint.h"

namespace switchyard::train {

class CheckpointKeeper {
 public:
  CheckpointKeeper(std::filesystem::path folder, std::int64_t keep_last);

  // Saves, then removes all but the newest keep_last. A full disk need not end a run: a failure is
  // logged, and thrown only when it is the third in a row.
  void save(const checkpoint::SaveRequest& request);
  // Throws the error of the last save, if it failed.
  void check_last_save() const;

  [[nodiscard]] const std::filesystem::path& last() const { return last_; }
  [[nodiscard]] std::int64_t last_step() const { return last_step_; }  // -1 before the first

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
