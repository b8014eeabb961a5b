// A whole pretraining run in its run folder: steps, records, evaluations, samples, checkpoints.
#pragma once

#include "switchyard/config/config.h"
#include "switchyard/config/resume.h"
#include "switchyard/train/run_result.h"

namespace switchyard::train {

// Trains config.train.steps steps in a new folder config.run.dir. When anything is due is a
// function of the step alone. Throws
//   UsageError      the folder holds a run or is in use, or settings do not fit the data;
//   DataError       the data cannot be read;
//   StorageError    a record, or three checkpoints in a row, could not be written;
//   NonFiniteError  train.max_skipped_steps steps in a row were skipped;
//   PreemptedError  after SIGINT, SIGTERM or SIGUSR1: the step was finished and saved.
RunResult pretrain(const config::Config& config);

// Goes on with the run in config.run.dir from its newest sound checkpoint (without any: from the
// start) as if it had never stopped. `config` is compared with the checkpoint's; what may differ is
// in config/resume.h. A run whose steps are all done only makes up for what its last step missed.
// Throws as pretrain does, and
//   UsageError      the folder holds no run, or a change of the config is not allowed;
//   DataError       no checkpoint is sound, or the data is not what the run was trained on.
RunResult resume(const config::Config& config, const config::AllowedChanges& allowed);

}  // namespace switchyard::train
