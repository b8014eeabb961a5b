#include "train/run_loop.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <filesystem>
#include <string>
#include <utility>

#include "switchyard/config/data_folders.h"
#include "switchyard/config/load.h"
#include "switchyard/core/error.h"
#include "switchyard/core/log.h"
#include "switchyard/core/terminal.h"
#include "switchyard/core/text.h"
#include "switchyard/model/parameter_counts.h"
#include "switchyard/ops/device.h"
#include "switchyard/optim/schedule.h"
#include "switchyard/telemetry/read_metrics.h"
#include "switchyard/train/model_files.h"
#include "train/phase.h"
#include "train/training_state.h"

namespace switchyard::train {
namespace {

using Clock = std::chrono::steady_clock;
using telemetry::EvaluationRecord;
using telemetry::StepSums;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

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
      folder_(folder),
      environment_(measure_environment(config)),
      trainer_(config, task.model(), task.objective(), groups),
      statistics_(statistics_options(config, task, environment_.peak_flops)),
      records_(leads() ? &folder : nullptr, side_work_),
      checkpoints_(folder.checkpoints(), config.train.keep_last) {
  if (leads()) checkpoints_.check_free_space(checkpoint_request());
}

void RunLoop::restore(const ResumePoint& point) {
  if (point.checkpoint.has_value()) restore_from(point);
  records_.mark_resume(trainer_.step());
}

RunResult RunLoop::run() {
  begin();
  if (first_step_ > 0) do_what_is_due();  // a stop may have come before it
  while (!is_finished()) {
    train_and_log_step();
    stop_if_not_finite();
    // 8 save, evaluate, sample when due
    do_what_is_due();
  }
  return summarize();
}

void RunLoop::begin() {
  first_step_ = trainer_.step();
  first_tokens_ = statistics_.totals().tokens;
  start_ = Clock::now();
  if (!leads()) return;
  // Not before: a folder where nothing could start stays free, a run that could not be resumed
  // keeps its config.
  // And one that has nothing to do keeps what it was made with.
  if (!is_finished() || first_step_ == 0) {
    folder_.write_environment(environment_.to_json());
    folder_.write_config(config::to_yaml(config_));
    folder_.write_data_folders(config::data_folders_yaml(config_.data, folder_.path()));
  }
  announce();
  warn_of_a_schedule_that_ended();
  records_.begin(first_step_ + 1);
}

void RunLoop::restore_from(const ResumePoint& point) {
  const checkpoint::Checkpoint& saved = *point.checkpoint;
  const TrainingState& state = point.state;
  restore_training(point, config_.model, task_.model(), trainer_);
  statistics_.restore(state.totals);
  evaluated_step_ = state.evaluated_step;
  sampled_step_ = state.sampled_step;
  if (point.same_evaluations) {
    best_.restore(state.best);
  } else if (leads()) {
    log::info("evaluations are not comparable with those before: the best starts afresh");
  }
  take_what_was_done_after_the_save(point.same_evaluations);
  checkpoints_.start_from(saved);
  if (!leads()) return;
  for (const std::string& line :
       differences_of_environment(saved.environment(), environment_.facts)) {
    log::warning("{}: the run goes on, but not bit for bit as if it had not stopped", line);
  }
}

// A step is saved before it is evaluated and sampled; the files tell whether it was.
void RunLoop::take_what_was_done_after_the_save(bool comparable) {
  const std::int64_t step = trainer_.step();
  for (const EvaluationRecord& record :
       telemetry::read_metrics(folder_.metrics_file()).evaluations) {
    if (record.step != step || evaluated_step_ == step) continue;
    if (comparable) (void)best_.judge(step, task_.judged(record));
    evaluated_step_ = step;
  }
  if (std::filesystem::exists(folder_.sample_file(step))) sampled_step_ = step;
}

bool RunLoop::stopped_early() const {
  const std::int64_t patience = config_.train.early_stop_patience;
  return patience > 0 && best_.state().num_without_improvement >= patience;
}

bool RunLoop::is_finished() const {
  return trainer_.step() >= config_.train.steps || stopped_early();
}

bool RunLoop::is_due(std::int64_t every) const {
  return is_finished() || (every > 0 && trainer_.step() % every == 0);
}

// When memory or the data gives out in the middle of it, the steps before are whole; in the log,
// this one too.
void RunLoop::train_and_log_step() {
  try {
    // 1 fetch, 2 forward, 3 backward, 4 reduce gradients, 5 check and clip, 6 update
    const StepSums sums = trainer_.train_step();
    // 7 log
    const Phase phase(trainer_.phases(), "log");
    log_step(sums);
  } catch (...) {
    save_what_was_trained();
    throw;
  }
}

void RunLoop::save_what_was_trained() {
  if (!leads() || !trainer_.is_between_steps()) return;
  if (trainer_.step() == first_step_ || is_saved()) return;
  try {
    save();
    checkpoints_.check_last_save();
    log::info("saved what was trained before: {}", checkpoints_.describe_saved());
    write_record();
  } catch (const std::exception& error) {
    log::warning("step {} could not be saved: {}", trainer_.step(), error.what());
  }
}

bool RunLoop::is_save_due() const {
  const std::int64_t every = config_.train.checkpoint_every;
  // A save that came out unsound is made up for as soon as there is something sound.
  const bool is_owed =
      checkpoints_.saved_step() > checkpoints_.last_step() && trainer_.num_skipped_in_a_row() == 0;
  return is_due(every) || is_owed || (every == 0 && checkpoints_.is_due());
}

// The save comes first, so that nothing that happens to the rest can cost the steps before it; a
// resume makes up for what of the rest is missing.
void RunLoop::do_what_is_due() {
  const std::int64_t step = trainer_.step();
  if (stop_.requested()) stop();
  const bool save_was_due = is_save_due();
  if (save_was_due && !is_saved()) save();
  if (is_due(config_.train.evaluate_every) && evaluated_step_ != step) {
    side_work_.attempt("evaluation", step, [this] { evaluate(); });
  }
  if (stop_.requested()) stop();
  if (is_due(config_.train.sample_every) && sampled_step_ != step) {
    side_work_.attempt("sample", step, [this] { sample(); });
  }
  if (stop_.requested()) stop();
  // The evaluation may have found the best so far, or the last step.
  const bool is_best = config_.train.keep_best && best_.state().step == step;
  if (((is_best && !save_was_due) || is_finished()) && !is_saved()) save();
  if (is_best && checkpoints_.last_step() == step) checkpoints_.mark_best();
  if (stop_.requested() && !is_finished()) stop();
}

void RunLoop::announce() {
  const model::ParameterCounts counts = model::count_parameters(task_.model());
  const auto activated = [&counts](double k) { return format_count(counts.activated(k)); };
  log::info("run {}: {} parameters{}, {}", folder_.path().string(),
            format_count(static_cast<double>(counts.total)),
            counts.num_moe_layers == 0 ? std::string()
                                       : fmt::format(" ({} / {} used per token at 1 / 2 experts)",
                                                     activated(1.0), activated(2.0)),
            task_.describe_samples());
  const double peak = environment_.peak_flops / 1e9;
  log::info("threads: {} on {}, {}{}; {} of {} tokens", environment_.facts.at("threads"),
            environment_.facts.at("cpu"), config_.train.precision,
            peak > 0.0 ? fmt::format(" peak {:.0f} GFLOP/s ({})", peak,
                                     environment_.facts.at("peak_flops_source"))
                       : "",
            counted(config_.train.steps, "step"),
            format_count(static_cast<double>(config_.train.global_batch_size *
                                             config_.data.sequence_length)));
}

// More steps than the schedule has go on at its last learning rate, which may be 0.
void RunLoop::warn_of_a_schedule_that_ended() const {
  const std::int64_t end = config_.schedule.steps;
  const std::int64_t steps = config_.train.steps;
  if (is_finished() || end == 0 || end >= steps || config_.optim.learning_rate == 0.0) return;
  const optim::Schedule schedule(config_.schedule, config_.optim.learning_rate, steps);
  if (schedule.learning_rate(steps) != 0.0) return;
  log::warning(
      "the schedule ends at step {}: from step {} on the learning rate is 0 and nothing is "
      "learned; "
      "schedule.steps={} --allow-change schedule.steps stretches it",
      end, std::max(end, first_step_ + 1), steps);
}

void RunLoop::warn_of(const StepSums& sums) {
  if (sums.skipped) {
    log::warning("step {}: loss or gradient is not finite: step skipped ({} in a row)", sums.step,
                 trainer_.num_skipped_in_a_row());
  }
  for (const telemetry::ExpertChange& change : expert_watch_.add(sums)) {
    const auto write = change.is_warning() ? log::write_warning : log::write_info;
    write(fmt::format("step {}: {}", sums.step, change.message(config_.model.moe.loss)));
  }
}

void RunLoop::log_step(const StepSums& sums) {
  statistics_.add(sums);
  if (leads() && !sums.skipped) checkpoints_.confirm();
  if (leads()) warn_of(sums);
  // The first step is always logged: it tells that all is well, and how fast.
  if (sums.step == first_step_ + 1 || is_due(config_.train.log_every)) write_record();
}

// Of the steps since the last one.
void RunLoop::write_record() {
  if (statistics_.empty()) return;
  const telemetry::StepRecord record =
      statistics_.take_record(trainer_.phases(), ops::memory_bytes(task_.model().device()));
  trainer_.phases().reset();
  const double eta = seconds_since(start_) / static_cast<double>(record.step - first_step_) *
                     static_cast<double>(config_.train.steps - record.step);
  records_.step(record, {.total_steps = config_.train.steps,
                         .eta_seconds = eta,
                         .loss_name = task_.loss_name(),
                         .mfu_of_data_sheet = environment_.peak_is_of_data_sheet});
}

checkpoint::SaveRequest RunLoop::checkpoint_request() const {
  SWITCHYARD_CHECK(groups_.layout().expert == 1,
                   "the one writer of a checkpoint holds {} of the experts",
                   groups_.layout().experts(config_.model.moe.num_experts).count);
  checkpoint::SaveRequest request;
  request.plan = checkpoint::one_file_per_kind({.weights = named_weights(task_.model()),
                                                .router_state = named_router_state(task_.model()),
                                                .optimizer = named_moments(trainer_.optimizer())});
  request.training_state = to_json(TrainingState{.trainer = trainer_.state(),
                                                 .totals = statistics_.totals(),
                                                 .best = best_.state(),
                                                 .evaluated_step = evaluated_step_,
                                                 .sampled_step = sampled_step_,
                                                 .data_fingerprint = task_.data_fingerprint()});
  request.step = trainer_.step();
  request.tokenizer_file = task_.tokenizer().file_name();
  request.tokenizer_bytes = task_.tokenizer().serialized();
  request.resolved_config = config::to_yaml(config_);
  request.environment = environment_.facts;
  request.is_sound = trainer_.num_skipped_in_a_row() == 0 && has_finite_weights(task_.model());
  return request;
}

void RunLoop::save() {
  const Phase phase(trainer_.phases(), "save");
  if (leads()) checkpoints_.save(checkpoint_request());
}

void RunLoop::evaluate() {
  if (!task_.can_evaluate()) return;
  const Phase phase(trainer_.phases(), "evaluate");
  const auto start = Clock::now();
  std::optional<ProgressBar> bar;  // only where it can go away again
  const auto progress = [this, &bar](std::int64_t done, std::int64_t total) {
    if (!leads() || !stderr_is_terminal()) return;
    if (!bar.has_value()) bar.emplace("evaluating", static_cast<std::uint64_t>(total));
    bar->advance_to(static_cast<std::uint64_t>(done));
  };
  std::optional<EvaluationRecord> result =
      task_.evaluate({.step = trainer_.step(),
                      .should_stop = [this] { return stop_.requested(); },
                      .progress = progress});
  bar.reset();
  if (!result.has_value()) return;  // stopped
  EvaluationRecord& record = *result;
  record.step = trainer_.step();
  record.seconds = seconds_since(start);
  records_.evaluation(record, best_.judge(record.step, task_.judged(record)));
  evaluation_ = record;
  evaluated_step_ = record.step;
  if (leads() && std::isfinite(record.loss)) checkpoints_.confirm();
  if (stopped_early() && leads()) {
    log::info("stopping early: no improvement for {}",
              counted(best_.state().num_without_improvement, "evaluation"));
  }
}

void RunLoop::sample() {
  if (!task_.can_sample()) return;
  const Phase phase(trainer_.phases(), "sample");
  records_.sample(trainer_.step(), task_.sample(trainer_.step()));
  sampled_step_ = trainer_.step();
}

void RunLoop::stop_if_not_finite() {
  if (trainer_.num_skipped_in_a_row() < config_.train.max_skipped_steps) return;
  write_record();
  save();
  checkpoints_.check_last_save();
  throw NonFiniteError(
      fmt::format("step {}: loss or gradient was not finite ({} in a row); saved {}",
                  trainer_.step(), trainer_.num_skipped_in_a_row(), checkpoints_.describe_saved()),
      "lower optim.learning_rate, or look at the data of these steps; `switchyard resume` goes on "
      "from the newest sound checkpoint, with --from STEP from another one");
}

void RunLoop::stop() {
  write_record();
  if (!is_saved()) save();
  checkpoints_.check_last_save();
  records_.finish(trainer_.step());
  throw PreemptedError(fmt::format("stopped by {} after step {} of {}; saved {}", stop_.name(),
                                   trainer_.step(), config_.train.steps,
                                   checkpoints_.describe_saved()));
}

void RunLoop::tell_end() const {
  const double seconds = seconds_since(start_);
  const std::int64_t num_steps = trainer_.step() - first_step_;
  const std::int64_t num_tokens = statistics_.totals().tokens - first_tokens_;
  if (num_steps > 0) {
    log::info("done: {}, {} tokens in {} ({} tok/s)", counted(num_steps, "step"),
              format_count(static_cast<double>(num_tokens)), format_duration(seconds),
              format_count(static_cast<double>(num_tokens) / seconds));
  } else if (stopped_early()) {
    log::info(
        "done already: the run stopped early at step {}; a larger "
        "train.early_stop_patience goes on",
        trainer_.step());
  } else {
    log::info("done already: {} of {} made; train.steps=N goes on", trainer_.step(),
              counted(config_.train.steps, "step"));
  }
  log::info("weights: {}", checkpoints_.describe_saved());
  if (const std::filesystem::path best = checkpoints_.best(); !best.empty()) {
    log::info("best:    {}", best.string());
  }
  const char* heading = "next:   ";
  for (const std::string& command : task_.next_commands(folder_.path().string())) {
    log::info("{} {}", std::exchange(heading, "        "), command);
  }
}

RunResult RunLoop::summarize() {
  write_record();  // after an early stop
  checkpoints_.check_last_save();
  records_.finish(trainer_.step());
  if (leads()) tell_end();
  if (checkpoints_.saved_step() != checkpoints_.last_step()) {
    throw NonFiniteError(
        fmt::format("step {}: the run ended with a loss or weights that are not finite",
                    trainer_.step()),
        "lower optim.learning_rate, or look at the data of the last steps");
  }
  // No step follows to show what the last weights are worth. Where nothing can be evaluated either,
  // they are taken for good: at the end a run keeps what it was told to.
  if (leads() && !task_.can_evaluate() && trainer_.step() > first_step_) checkpoints_.confirm();
  side_work_.check_last();
  return {.num_steps = trainer_.step(),
          .num_tokens = statistics_.totals().tokens,
          .checkpoint = checkpoints_.last(),
          .evaluation = evaluation_};
}

}  // namespace switchyard::train
