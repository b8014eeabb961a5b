// A run from its first step to its end, whatever its task: what is due (evaluate, sample, log, and
// save where the config says how often) is a function of the step alone; what came before a resume
// counts as done. Whatever fails outside of training and saving costs a warning.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "switchyard/config/config.h"
#include "switchyard/parallel/rank_groups.h"
#include "switchyard/telemetry/step_statistics.h"
#include "switchyard/train/run_folder.h"
#include "switchyard/train/run_result.h"
#include "switchyard/train/stop_signal.h"
#include "switchyard/train/task.h"
#include "switchyard/train/trainer.h"
#include "train/run/checkpoint_keeper.h"
#include "train/run/environment.h"
#include "train/run/resume_point.h"
#include "train/run/run_ranks.h"
#include "train/run/run_records.h"
#include "train/run/run_samples.h"
#include "train/run/run_saves.h"
#include "train/run/side_progress.h"
#include "train/run/side_work.h"
#include "train/run/step_warnings.h"

namespace switchyard::train {

class RunLoop {
 public:
  // All must outlive this. Every rank makes one and calls the same of it; what the folder gets, the
  // leading rank writes, but for checkpoints, where each writes what it holds of the experts.
  // Throws StorageError when the disk has no room for two checkpoints, and what Trainer throws.
  RunLoop(const config::Config& config, Task& task, parallel::RankGroups& groups,
          const RunFolder& folder, const StopSignal& stop);

  // Before run(): the weights, moments and counters of the checkpoint to go on from, if there is
  // one. Marks the records after it as void.
  void restore(const ResumePoint& point);

  // Throws as pretrain() does.
  RunResult run();

  // Counts failures of what is done beside training, also after run().
  [[nodiscard]] SideWork& side_work() { return side_work_; }
  [[nodiscard]] std::int64_t step() const { return trainer_.step(); }
  [[nodiscard]] const telemetry::RunTotals& totals() const { return statistics_.totals(); }

 private:
  [[nodiscard]] bool leads() const { return ranks_.leads(); }
  // On any rank.
  [[nodiscard]] bool stop_requested();
  [[nodiscard]] bool stopped_early() const;
  [[nodiscard]] bool is_finished() const {
    return trainer_.step() >= config_.train.steps || stopped_early();
  }
  // 0 = only at the end.
  [[nodiscard]] bool is_due(std::int64_t every) const {
    return is_finished() || (every > 0 && trainer_.step() % every == 0);
  }

  void restore_from(const ResumePoint& point);
  void begin();
  void log_step(const telemetry::StepSums& sums);
  void write_record();
  void train_and_log_step();
  void save_what_was_trained();
  void finish_save_under_way();
  // Does the config, or else the leader's clock, ask for a checkpoint?
  [[nodiscard]] bool is_save_due();
  // Or under way.
  [[nodiscard]] bool is_saved() const { return saves_.has(trainer_.step()); }
  void do_what_is_due();
  // What is done beside training: a failure is a warning. Where there are several ranks it ends the
  // run, since the others wait for what this one would have done.
  void attempt(const std::string& kind, const std::function<void()>& work);
  void evaluate();
  // False: a stop has cut it short.
  [[nodiscard]] bool calibrate();
  [[nodiscard]] EvaluationOptions evaluation_options() {
    return {.step = trainer_.step(), .ranks = ranks_.share(), .should_stop = [this] {
              return stop_requested();
            }};
  }
  void sample();
  // Now where nothing comes after it, else as the config says.
  void save();
  void save_at_last();
  [[nodiscard]] checkpoint::SaveRequest checkpoint_request();
  void stop_if_not_finite();
  [[noreturn]] void stop();
  RunResult summarize();

  const StopSignal& stop_;
  const config::Config& config_;
  Task& task_;
  parallel::RankGroups& groups_;
  RunRanks ranks_;
  const RunFolder& folder_;
  Environment environment_;
  Trainer trainer_;
  telemetry::StepStatistics statistics_;
  StepWarnings warnings_;
  SideProgress done_;
  SideWork side_work_;
  RunRecords records_;
  RunSamples samples_;
  RunSaves saves_;
  CheckpointKeeper& checkpoints_;  // of saves_
  std::optional<telemetry::EvaluationRecord> evaluation_;
  // Where this process began.
  std::int64_t first_step_ = 0;
  std::int64_t first_tokens_ = 0;
  std::chrono::steady_clock::time_point start_{};
};

}  // namespace switchyard::train
