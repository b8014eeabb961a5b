// From where a run goes on, and whether it may.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "switchyard/checkpoint/checkpoint.h"
#include "switchyard/comm/communicator.h"
#include "switchyard/config/config.h"
#include "switchyard/config/resume.h"
#include "switchyard/model/model.h"
#include "switchyard/train/run_folder.h"
#include "switchyard/train/trainer.h"
#include "train/run/training_state.h"

namespace switchyard::train {

struct ResumePoint {
  std::optional<checkpoint::Checkpoint> checkpoint;  // none: from the start
  std::vector<checkpoint::NewestSound::Damaged> damaged;
  std::vector<std::filesystem::path> rolled_back;  // later steps than one that was asked for
  std::vector<config::Change> changes;             // since the checkpoint, all allowed
  TrainingState state = {};                        // of the checkpoint
  bool same_data = true;
  bool same_routers = true;
  config::ModelConfig model_before = {};  // what the checkpoint's routers were
  bool same_evaluations = true;           // losses before and after are comparable
};

// `from`: the step to go on from; without it the newest sound one. Changes nothing in the folder.
// `read`: train/read_by_ranks.h.
// Changes that the run's own resolved config has already were allowed by a resume that saved
// nothing since, and stay so, unless the file was edited by hand. Throws UsageError for others that
// are not allowed and for a step that is not there, DataError when no checkpoint is sound or the
// newest one holds weights only.
[[nodiscard]] ResumePoint find_resume_point(const RunFolder& folder, const config::Config& config,
                                            const config::AllowedChanges& allowed,
                                            std::optional<std::int64_t> from,
                                            const checkpoint::ReadContents& read);

// Is it the data that the run was trained on? Throws DataError; when a key that decides the data is
// allowed to change, it is only said.
void check_data(ResumePoint& point, const std::string& fingerprint, const config::Config& config,
                const config::AllowedChanges& allowed);

// Removes unfinished checkpoints and tells what was found, also whether `num_ranks` make
// micro-steps of another size.
void tidy_and_tell(const ResumePoint& point, const config::Config& config, const RunFolder& folder,
                   std::int64_t num_ranks);

// Sets damaged and rolled back checkpoints and the samples after them aside, points LATEST and BEST
// at what there is and tells of it. Once the run is restored on all ranks: until then its folder is
// as it was. `best_step`: of the best evaluation, whose checkpoint is kept; 0: none is.
void set_later_ones_aside(const ResumePoint& point, const RunFolder& folder,
                          std::int64_t best_step);

// Gives every rank the leader's, with its own view of the checkpoint's files; what the two before
// need is the leader's alone. A collective.
[[nodiscard]] ResumePoint share_resume_point(ResumePoint point, comm::Communicator& world);

// Weights, moments, router state (of changed routers what still means the same) and counters of the
// checkpoint, which must be there.
void restore_training(const ResumePoint& point, const config::ModelConfig& config,
                      model::Model& model, Trainer& trainer);

// What this process has against what the checkpoint was written with: results may differ in the
// last bits. One line per difference.
[[nodiscard]] std::vector<std::string> differences_of_environment(
    const std::map<std::string, std::string>& then, const std::map<std::string, std::string>& now);

}  // namespace switchyard::train
