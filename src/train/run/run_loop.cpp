#include "train/run/run_loop.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <filesystem>
#include <string>
#include <utility>

#include "switchyard/checkpoint/calibration.h"
#include "switchyard/config/data_folders.h"
#include "switchyard/config/load.h"
#include "switchyard/core/error.h"
#include "switchyard/core/log.h"
#include "switchyard/core/text.h"
#include "switchyard/core/timing.h"
#include "switchyard/ops/device.h"
#include "switchyard/ops/out_of_memory.h"
#include "switchyard/train/model_files.h"
#include "train/phase.h"
#include "train/run/run_words.h"
#include "train/run/training_state.h"
#include "train/run_evaluation.h"

namespace switchyard::train {
namespace {

using Clock = std::chrono::steady_clock;
using telemetry::EvaluationRecord;
using telemetry::StepSums;

telemetry::StatisticsOptions statistics_options(const config::Config& config, const Task& task,
                                                double peak_flops) {
  return {.loss = config.model.moe.loss,
          .flops_per_token = [&task](double k) { return task.flops_per_token(k); },
          .peak_flops = peak_flops};
}

}  // namespace

RunLoop::RunLoop(const config::Config& config, Task& task, parallel::RankGroups& groups,
                 const RunFolder& folder, const StopSignal& stop)
    : stop_(stop),
      config_(config),
      task_(task),
      groups_(groups),
      ranks_(groups.world()),
      folder_(folder),
      environment_(measure_environment(config, ranks_.count(), leads())),
      trainer_(config, task.model(), task.objective(), groups),
      statistics_(statistics_options(config, task, environment_.peak_flops)),
      warnings_(config, ranks_.count()),
      records_(leads() ? &folder : nullptr, side_work_),
      samples_(task, records_, side_work_),
      saves_(config, groups, ranks_, folder),
      checkpoints_(saves_.keeper()) {
  const std::int64_t num_bytes = ranks_.sum(
      static_cast<std::int64_t>(checkpoint::bytes_of(saves_.plan(task_.model(), trainer_))),
      "size of a checkpoint");
  if (leads()) checkpoints_.check_free_space(static_cast<std::uint64_t>(num_bytes));
}

void RunLoop::restore(const ResumePoint& point) {
  if (point.checkpoint.has_value()) restore_from(point);
  groups_.world().barrier("restored");
  if (leads()) {
    set_later_ones_aside(point, folder_,
                         config_.train.keep_best ? done_.best.state().step : std::int64_t{0});
  }
  records_.mark_resume(trainer_.step());
}

RunResult RunLoop::run() {
  begin();
  try {
    if (first_step_ > 0) do_what_is_due();  // a stop may have come before it
    while (!is_finished()) {
      train_and_log_step();
      stop_if_not_finite();
      // 8 save, evaluate, sample when due
      do_what_is_due();
    }
  } catch (...) {
    finish_save_under_way();
    throw;
  }
  SWITCHYARD_CHECK(!saves_.is_under_way(), "step {} is not saved yet", trainer_.step());
  return summarize();
}

void RunLoop::begin() {
  first_step_ = trainer_.step();
  first_tokens_ = statistics_.totals().tokens;
  start_ = Clock::now();
  if (!leads()) return;
  folder_.check_in_place();
  // Not before: a folder where nothing could start stays free, a run that could not be resumed
  // keeps its config.
  // And one that has nothing to do keeps what it was made with.
  const bool lacks_temperature =
      config_.train.calibrate && !checkpoint::has_temperature(checkpoints_.last());
  if (!is_finished() || first_step_ == 0 || lacks_temperature) {
    folder_.write_environment(environment_.to_json());
    folder_.write_config(config::to_yaml(config_));
    folder_.write_data_folders(config::data_folders_yaml(config_.data, folder_.path()));
  }
  announce(folder_.path().string(), config_, task_, environment_, groups_.layout());
  if (!is_finished()) warn_of_a_schedule_that_ended(config_, first_step_);
  if (first_step_ == 0) {  // later a run keeps what they would have it change
    warn_of_a_slow_precision(environment_);
    warn_of_slow_gpu_settings(config_, groups_.layout());
  }
  records_.begin(first_step_ + 1);
}

void RunLoop::restore_from(const ResumePoint& point) {
  const checkpoint::Checkpoint& saved = *point.checkpoint;
  const TrainingState& state = point.state;
  restore_training(point, config_.model, task_.model(), trainer_);
  statistics_.restore(state.totals);
  done_.restore(state, point.same_evaluations);
  if (leads()) {
    if (!point.same_evaluations) {
      log::info("evaluations are not comparable with those before: the best starts afresh");
    }
    done_.take_from(folder_, trainer_.step(), point.same_evaluations,
                    [this](const EvaluationRecord& record) { return task_.judged(record); });
    if (config_.train.keep_best) done_.forget_a_best_that_is_gone(folder_);
  }
  done_.take_from_leader(ranks_);
  checkpoints_.start_from(saved);
  if (!leads()) return;
  if (!is_finished()) warn_of_other_bits(saved.environment(), environment_.facts, config_);
}

bool RunLoop::stopped_early() const {
  const std::int64_t patience = config_.train.early_stop_patience;
  return patience > 0 && done_.best.state().num_without_improvement >= patience;
}

// When memory or the data gives out in the middle of it, the steps before are whole; in the log,
// this one too.
void RunLoop::train_and_log_step() {
  try {
    // 1 fetch, 2 forward, 3 backward, 4 reduce gradients, 5 check and clip, 6 update
    warnings_.begin_step();
    const StepSums sums = trainer_.train_step();
    if (sums.step == first_step_ + 1) {
      groups_.world().set_timeout(std::chrono::seconds(config_.parallel.timeout));
    }
    // 7 log
    const Phase phase(trainer_.phases(), "log");
    log_step(sums);
  } catch (...) {
    save_what_was_trained();
    throw;
  }
}

// Whatever ends the run, a checkpoint that is as good as written is kept.
void RunLoop::finish_save_under_way() {
  // The others may be anywhere: nothing can be done together any more.
  if (ranks_.count() > 1) return;
  try {
    saves_.wait();
  } catch (const std::exception& error) {
    log::warning("{}", ops::short_message(error));
  }
}

void RunLoop::save_what_was_trained() {
  if (ranks_.count() > 1 || !trainer_.is_between_steps()) return;
  if (trainer_.step() == first_step_ || is_saved()) return;
  try {
    save_at_last();
    log::info("saved what was trained before: {}", checkpoints_.describe_saved());
    write_record();
  } catch (const std::exception& error) {
    log::warning("step {} could not be saved: {}", trainer_.step(), ops::short_message(error));
  }
}

bool RunLoop::stop_requested() {
  return ranks_.any(stop_.requested(), "stop");
}

bool RunLoop::is_save_due() {
  const std::int64_t every = config_.train.checkpoint_every;
  // A save that came out unsound is made up for as soon as there is something sound.
  const bool is_owed = saves_.owes_sound() && trainer_.num_skipped_in_a_row() == 0;
  if (is_due(every) || is_owed) return true;
  return every == 0 && saves_.is_due_by_clock();
}

// The save comes first, so that nothing that happens to the rest can cost the steps before it; a
// resume makes up for what of the rest is missing.
void RunLoop::do_what_is_due() {
  const std::int64_t step = trainer_.step();
  if (stop_requested()) stop();
  if (saves_.is_under_way()) {
    const Phase phase(trainer_.phases(), "save");
    saves_.take_written();
  }
  const bool save_was_due = is_save_due();
  const bool saves = save_was_due && !is_saved();
  if (saves) save();
  const bool evaluates = is_due(config_.train.evaluate_every) && done_.evaluated_step != step;
  if (evaluates) {
    saves_.settle_best();
    attempt("evaluation", [this] { evaluate(); });
  }
  if (is_finished()) saves_.wait();  // the evaluation may have ended the run
  if ((saves || evaluates) && stop_requested()) stop();
  if (is_due(config_.train.sample_every) && done_.sampled_step != step) {
    sample();
    if (stop_requested()) stop();
  }
  // The evaluation may have found the best so far, or the last step.
  const bool is_best = config_.train.keep_best && done_.best.state().step == step;
  const bool saves_again = ((is_best && !save_was_due) || is_finished()) && !is_saved();
  if (saves_again) save();
  if (is_best) saves_.mark_best(step, [this, step] { done_.best_is_lost(step); });
  if (saves_again && !is_finished() && stop_requested()) stop();
  if (!config_.train.calibrate || !is_finished()) return;
  bool is_whole = true;
  attempt("calibration", [&] { is_whole = calibrate(); });
  if (!is_whole && stop_requested()) stop();
}

void RunLoop::attempt(const std::string& kind, const std::function<void()>& work) {
  if (ranks_.count() > 1) return work();
  side_work_.attempt(kind, trainer_.step(), work);
}

void RunLoop::log_step(const StepSums& sums) {
  statistics_.add(sums);
  if (leads() && !sums.skipped) checkpoints_.confirm(sums.step - 1);
  if (leads()) warnings_.tell(sums, trainer_.num_skipped_in_a_row());
  // The first step is always logged: it tells that all is well, and how fast.
  if (sums.step == first_step_ + 1 || is_due(config_.train.log_every)) write_record();
}

// Of the steps since the last one.
void RunLoop::write_record() {
  if (statistics_.empty()) return;
  telemetry::StepRecord record =
      statistics_.take_record(trainer_.phases(), ops::memory_bytes(task_.model().device()));
  ranks_.add_traffic(record);
  trainer_.phases().reset();
  const double eta = seconds_since(start_) / static_cast<double>(record.step - first_step_) *
                     static_cast<double>(config_.train.steps - record.step);
  records_.step(record, {.total_steps = config_.train.steps,
                         .eta_seconds = eta,
                         .loss_name = task_.loss_name(),
                         .mfu_of_data_sheet = environment_.peak_is_of_data_sheet});
}

checkpoint::SaveRequest RunLoop::checkpoint_request() {
  checkpoint::SaveRequest request;
  request.plan = saves_.plan(task_.model(), trainer_);
  request.training_state = to_json(TrainingState{.trainer = trainer_.state(),
                                                 .totals = statistics_.totals(),
                                                 .best = done_.best.state(),
                                                 .evaluated_step = done_.evaluated_step,
                                                 .sampled_step = done_.sampled_step,
                                                 .data_fingerprint = task_.data_fingerprint()});
  request.step = trainer_.step();
  request.tokenizer_file = task_.tokenizer().file_name();
  request.tokenizer_bytes = task_.tokenizer().serialized();
  request.resolved_config = config::to_yaml(config_);
  request.environment = environment_.facts;
  request.is_sound = trainer_.num_skipped_in_a_row() == 0 &&
                     !ranks_.any(!has_finite_weights(task_.model()), "weights that are not finite");
  return request;
}

void RunLoop::save() {
  if (is_finished()) return save_at_last();
  const Phase phase(trainer_.phases(), "save");
  saves_.wait();  // what became of the one before belongs into this one
  saves_.save(checkpoint_request());
}

void RunLoop::save_at_last() {
  const Phase phase(trainer_.phases(), "save");
  saves_.wait();
  saves_.save_at_last(trainer_.step(), [this] { return checkpoint_request(); });
}

void RunLoop::evaluate() {
  if (!task_.can_evaluate()) return;
  const Phase phase(trainer_.phases(), "evaluate");
  const std::optional<EvaluationRecord> result =
      run_evaluation([this](const EvaluationOptions& options) { return task_.evaluate(options); },
                     evaluation_options(), leads());
  if (!result.has_value()) return;  // stopped
  const EvaluationRecord& record = *result;
  records_.evaluation(record,
                      done_.judge(record.step, task_.judged(record), task_.judges_negated()));
  evaluation_ = record;
  done_.evaluated_step = record.step;
  if (leads() && std::isfinite(record.loss)) checkpoints_.confirm(record.step);
  if (stopped_early() && leads()) {
    log::info("stopping early: no improvement for {}",
              counted(done_.best.state().num_without_improvement, "evaluation"));
  }
}

// What the temperature is kept beside is saved by now: whatever happens here costs it alone, and a
// resume makes up for it.
bool RunLoop::calibrate() {
  if (!task_.can_evaluate() || checkpoints_.last_step() != trainer_.step()) return true;  // unsound
  const bool is_wanted = leads() && !checkpoint::has_temperature(checkpoints_.last());
  if (!ranks_.any(is_wanted, "temperature that is missing")) return true;
  const Phase phase(trainer_.phases(), "evaluate");
  const std::optional<EvaluationRecord> record =
      run_evaluation([this](const EvaluationOptions& options) { return task_.calibrate(options); },
                     evaluation_options(), leads());
  if (!record.has_value() || !leads()) return record.has_value();
  records_.evaluation(*record, "");  // again, where the file is not reached: the last one counts
  side_work_.attempt("keeping the temperature", record->step, [&] {
    folder_.check_in_place();
    checkpoint::keep_temperature(checkpoints_.last(), *record->temperature);
  });
  return true;
}

void RunLoop::sample() {
  if (!task_.can_sample()) return;
  const Phase phase(trainer_.phases(), "sample");
  bool worked = true;
  if (groups_.layout().expert > 1) {
    worked = samples_.make_together(evaluation_options());
  } else if (leads()) {  // it has all experts, and nobody waits for it
    worked = samples_.make(
        {.step = trainer_.step(), .should_stop = [this] { return stop_.requested(); }});
  }
  if (!ranks_.any(!worked, "sample that is missing")) done_.sampled_step = trainer_.step();
}

void RunLoop::stop_if_not_finite() {
  if (trainer_.num_skipped_in_a_row() < config_.train.max_skipped_steps) return;
  write_record();
  save_at_last();
  throw NonFiniteError(
      fmt::format("step {}: loss or gradient was not finite ({} in a row); saved {}",
                  trainer_.step(), trainer_.num_skipped_in_a_row(), checkpoints_.describe_saved()),
      "lower optim.learning_rate, or look at the data of these steps; `switchyard resume` goes on "
      "from the newest sound checkpoint, with --from STEP from another one");
}

void RunLoop::stop() {
  write_record();
  save_at_last();
  records_.finish(trainer_.step());
  const std::string by = stop_.requested() ? stop_.name() : "a signal to another rank";
  throw PreemptedError(fmt::format("stopped by {} after step {} of {}; saved {}", by,
                                   trainer_.step(), config_.train.steps,
                                   checkpoints_.describe_saved()));
}

RunResult RunLoop::summarize() {
  write_record();  // after an early stop
  checkpoints_.check_last_save();
  records_.finish(trainer_.step());
  if (leads()) {
    tell_end(folder_.path().string(), task_, checkpoints_,
             {.first_step = first_step_,
              .step = trainer_.step(),
              .total_steps = config_.train.steps,
              .num_tokens = statistics_.totals().tokens - first_tokens_,
              .seconds = seconds_since(start_),
              .stopped_early = stopped_early()});
  }
  if (checkpoints_.saved_step() != checkpoints_.last_step()) {
    throw NonFiniteError(
        fmt::format("step {}: the run ended with a loss or weights that are not finite",
                    trainer_.step()),
        "lower optim.learning_rate, or look at the data of the last steps");
  }
  // No step follows to show what the last weights are worth. Where nothing can be evaluated either,
  // they are taken for good: at the end a run keeps what it was told to.
  if (leads() && !task_.can_evaluate() && trainer_.step() > first_step_) {
    checkpoints_.confirm(trainer_.step());
  }
  return {.num_steps = trainer_.step(),
          .num_tokens = statistics_.totals().tokens,
          .checkpoint = checkpoints_.last(),
          .evaluation = evaluation_};
}

}  // namespace switchyard::train
