// How a run is saved over its ranks: at once, or (train.async_save) beside training, whose steps go
// on while a copy is written. At most one save is under way; it counts, and LATEST moves, only when
// the files of all ranks are written, at the end of a step on which the ranks agree.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "switchyard/comm/communicator.h"
#include "switchyard/config/config.h"
#include "switchyard/model/model.h"
#include "switchyard/parallel/rank_groups.h"
#include "switchyard/train/run_folder.h"
#include "switchyard/train/trainer.h"
#include "train/run/checkpoint_keeper.h"
#include "train/run/joint_save.h"
#include "train/run/run_ranks.h"

namespace switchyard::train {

class RunSaves {
 public:
  // All must outlive this.
  RunSaves(const config::Config& config, parallel::RankGroups& groups, RunRanks& ranks,
           const RunFolder& folder);

  // What this rank writes: weights are the leader's and each rank's of its expert group, moments
  // whoever's has them.
  [[nodiscard]] checkpoint::WritePlan plan(model::Model& model, Trainer& trainer) const;

  // Collectives, up to is_due_by_clock().

  // After wait(), so that a request tells what became of the save before.

  // Before it returns.
  void save_now(checkpoint::SaveRequest request);
  // The last chance for the steps before: where the disk fails, twice again within seconds. Throws
  // what the last try threw. Does nothing for a step that is saved.
  void save_at_last(std::int64_t step, const std::function<checkpoint::SaveRequest()>& request);
  // Beside training where the config says so.
  void save(checkpoint::SaveRequest request);
  // Between two steps: takes what all ranks have written by now.
  void take_written();
  // Waits for what is under way. Does nothing when nothing is.
  void wait();
  // Waits for the best so far, by which evaluations are judged.
  void settle_best();

  // Does the leader's clock ask for a save?
  [[nodiscard]] bool is_due_by_clock();

  // Is, or is going to be, the newest that was saved.
  [[nodiscard]] bool has(std::int64_t step) const;
  [[nodiscard]] bool is_under_way() const { return under_way_ != nullptr; }
  // Was the one before not sound, so that a sound one is owed?
  [[nodiscard]] bool owes_sound() const;
  // `step` is the best so far: it is kept until there is a better one. `if_lost` is called, on all
  // ranks, where it could not be saved, now or as soon as a save under way has failed; what it
  // refers to must outlive this. A collective.
  void mark_best(std::int64_t step, std::function<void()> if_lost);

  [[nodiscard]] CheckpointKeeper& keeper() { return keeper_; }

 private:
  void begin(checkpoint::SaveRequest request, bool beside);
  void finish();

  const config::Config& config_;
  parallel::RankGroups& groups_;
  comm::Communicator& world_;
  RunRanks& ranks_;
  CheckpointKeeper keeper_;
  const RunFolder& folder_;
  std::unique_ptr<JointSave> under_way_;
  double seconds_before_ = 0.0;            // that training has waited for it
  std::function<void()> if_best_is_lost_;  // of the one under way, if it is the best
};

}  // namespace switchyard::train
