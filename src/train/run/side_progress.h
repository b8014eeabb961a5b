// Which evaluation and which sample were the last, and which step is the best so far. A step is
// saved before it is evaluated and sampled, so a checkpoint may know less of it than the folder.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "switchyard/telemetry/record.h"
#include "switchyard/telemetry/step_line.h"
#include "switchyard/train/run_folder.h"
#include "train/run/run_ranks.h"
#include "train/run/training_state.h"

namespace switchyard::train {

class SideProgress {
 public:
  telemetry::BestTracker best = {};
  std::int64_t evaluated_step = 0;  // 0 = none yet
  std::int64_t sampled_step = 0;

  // best.judge(), which best_is_lost() undoes.
  std::string judge(std::int64_t step, double loss, bool is_negated = false);
  // The step was not saved: what was the best before it is the best to keep.
  void best_is_lost(std::int64_t step);
  // As of the checkpoint. Evaluations that are not `comparable` with those from now on leave no
  // best.
  void restore(const TrainingState& state, bool comparable);
  // What the folder has of the step that was saved. `judged`: less is better.
  using Judged = std::function<double(const telemetry::EvaluationRecord& record)>;
  void take_from(const RunFolder& folder, std::int64_t step, bool comparable, const Judged& judged);
  // Where the best is to be kept and its checkpoint is not there, such as after a step back to one
  // that was no better, nothing is the best so far.
  void forget_a_best_that_is_gone(const RunFolder& folder);
  // The leader's: others may not see the same files yet. A collective.
  void take_from_leader(RunRanks& ranks);

 private:
  telemetry::BestState before_;  // the best one was judged; itself where that is not known
};

}  // namespace switchyard::train
