// A whole pretraining run in its run folder: steps, records, evaluations, samples, checkpoints.
#pragma once

#include <cstdint>
#include <optional>

#include "switchyard/comm/communicator.h"
#include "switchyard/config/config.h"
#include "switchyard/config/resume.h"
#include "switchyard/train/run_result.h"

namespace switchyard::train {

// Trains config.train.steps steps in a new folder config.run.dir. When anything is due is a
// function of the step alone; checkpoints by the clock unless the config says how often. An
// evaluation, sample or record that fails on the way costs a warning. Throws
//   UsageError      the folder holds a run or is in use, or settings do not fit the data;
//   DataError       the data cannot be read;
//   StorageError    three checkpoints in a row could not be written;
//   NonFiniteError  train.max_skipped_steps steps in a row were skipped, or the last one was;
//   OutOfMemoryError  a step did not fit: the steps before it were saved;
//   PreemptedError  after a signal of StopSignal: the step was finished and saved;
// and, once all is trained and saved, what made the last evaluation, sample or record fail.
RunResult pretrain(const config::Config& config);
// The same as one of several ranks, which all call it with equal configs and see the same files.
// Rank 0 alone owns the folder and talks. After an error that not all ranks have met (only
// PreemptedError and NonFiniteError come to all) the others wait: their processes have to be ended.
RunResult pretrain(const config::Config& config, comm::Communicator& world);

// Goes on with the run in config.run.dir from its newest sound checkpoint (without any: from the
// start) as if it had never stopped. `from`: from that step instead, sound or not; later ones are
// set aside. `config` is compared with the checkpoint's; what may differ is in config/resume.h. A
// run whose steps are all done only makes up for what its last step missed. Throws as pretrain
// does, and
//   UsageError      the folder holds no run or not that step, or a change is not allowed;
//   DataError       no checkpoint is sound, or the data is not what the run was trained on.
RunResult resume(const config::Config& config, const config::AllowedChanges& allowed,
                 std::optional<std::int64_t> from = std::nullopt);
RunResult resume(const config::Config& config, const config::AllowedChanges& allowed,
                 std::optional<std::int64_t> from, comm::Communicator& world);

}  // namespace switchyard::train
