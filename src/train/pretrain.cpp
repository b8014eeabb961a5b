#include "switchyard/train/pretrain.h"

#include <chrono>
#include <cmath>
#include <numbers>
#include <string>
#include <utility>

#include "switchyard/config/load.h"
#include "switchyard/core/error.h"
#include "switchyard/core/log.h"
#include "switchyard/core/terminal.h"
#include "switchyard/telemetry/expert_watch.h"
#include "switchyard/telemetry/metrics_writer.h"
#include "switchyard/telemetry/read_metrics.h"
#include "switchyard/telemetry/step_line.h"
#include "switchyard/telemetry/tensorboard_writer.h"
#include "switchyard/train/build.h"
#include "switchyard/train/device.h"
#include "switchyard/train/evaluate.h"
#include "switchyard/train/generate.h"
#include "switchyard/train/machine.h"
#include "switchyard/train/printable.h"
#include "switchyard/train/report.h"
#include "switchyard/train/run_folder.h"
#include "switchyard/train/stop_signal.h"
#include "switchyard/train/throughput.h"
#include "switchyard/train/trainer.h"
#include "train/checkpoint_keeper.h"
#include "train/environment.h"
#include "train/phase.h"
#include "train/resume_point.h"
#include "train/training_state.h"

namespace switchyard::train {
namespace {

using Clock = std::chrono::steady_clock;
using telemetry::EvaluationRecord;
using telemetry::StepRecord;
using telemetry::StepSums;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

class Pretraining {
 public:
  Pretraining(Build parts, RunFolder folder)
      : parts_(std::move(parts)),
        config_(parts_.config),
        folder_(std::move(folder)),
        environment_(measure_environment(config_)),
        communicator_(comm::make_self_communicator()),
        groups_(*communicator_, config_.parallel.expert),
        trainer_(config_, *parts_.decoder, groups_, training_data()),
        statistics_(statistics_options()),
        metrics_(folder_.metrics_file()),
        checkpoints_(folder_.checkpoints(), config_.train.keep_last) {
    checkpoints_.check_free_space(checkpoint_request());
  }

  // Before run(): the weights, moments and counters of the checkpoint to go on from, if there is
  // one. Marks the records after it as void.
  void restore(const ResumePoint& point) {
    if (point.checkpoint.has_value()) restore_from(point);
    metrics_.write({{"event", "resume"}, {"step", trainer_.step()}});
  }

  PretrainResult run() {
    // Not before: a folder where nothing could start stays free, a run that could not be resumed
    // keeps its config.
    folder_.write_environment(environment_.to_json());
    folder_.write_config(config::to_yaml(config_));
    announce();
    start_ = Clock::now();
    first_step_ = trainer_.step();
    events_.emplace(folder_.path(), first_step_ + 1);
    first_tokens_ = statistics_.totals().tokens;
    if (first_step_ > 0) do_what_is_due();  // a stop may have come before it
    while (!is_finished()) {
      // 1 fetch, 2 forward, 3 backward, 4 reduce gradients, 5 check and clip, 6 update
      const StepSums sums = trainer_.train_step();
      // 7 log
      {
        const Phase phase(trainer_.phases(), "log");
        log_step(sums);
      }
      stop_if_not_finite();
      // 8 evaluate, sample, save when due
      do_what_is_due();
    }
    return summarize();
  }

 private:
  void restore_from(const ResumePoint& point) {
    const checkpoint::Checkpoint& saved = *point.checkpoint;
    const TrainingState& state = point.state;
    restore_training(point, *parts_.decoder, trainer_);
    statistics_.restore(state.totals);
    evaluated_step_ = state.evaluated_step;
    sampled_step_ = state.sampled_step;
    if (point.same_evaluations) {
      best_.restore(state.best);
    } else {
      log::info("evaluations are not comparable with those before: the best starts afresh");
    }
    take_what_was_done_after_the_save();
    checkpoints_.start_from(saved);
    for (const std::string& line :
         differences_of_environment(saved.environment(), environment_.facts)) {
      log::warning("{}: the run goes on, but not bit for bit as if it had not stopped", line);
    }
  }

  // A step that a signal saved before it was evaluated and sampled may have been so by an earlier
  // resume; the files tell.
  void take_what_was_done_after_the_save() {
    const std::int64_t step = trainer_.step();
    for (const EvaluationRecord& record :
         telemetry::read_metrics(folder_.metrics_file()).evaluations) {
      if (record.step != step || evaluated_step_ == step) continue;
      (void)best_.judge(step, record.loss);
      evaluated_step_ = step;
    }
    if (std::filesystem::exists(folder_.sample_file(step))) sampled_step_ = step;
  }

  TrainingData training_data() {
    return {.window = [this](std::int64_t idx) { return parts_.training.get(idx); },
            .separator = tokenizer().separator_id()};
  }

  [[nodiscard]] telemetry::StatisticsOptions statistics_options() const {
    const TrainingFlops flops = count_training_flops(config_.model, config_.data.sequence_length);
    return {.loss = config_.model.moe.loss,
            .flops_per_token = [flops](double k) { return flops.per_token(k); },
            .peak_flops = environment_.peak_flops};
  }

  [[nodiscard]] const data::Tokenizer& tokenizer() const { return parts_.training.tokenizer(); }

  [[nodiscard]] bool stopped_early() const {
    const std::int64_t patience = config_.train.early_stop_patience;
    return patience > 0 && best_.state().num_without_improvement >= patience;
  }

  [[nodiscard]] bool is_finished() const {
    return trainer_.step() >= config_.train.steps || stopped_early();
  }

  // 0 = only at the end.
  [[nodiscard]] bool is_due(std::int64_t every) const {
    return is_finished() || (every > 0 && trainer_.step() % every == 0);
  }

  // The save comes last, so that what it saves has all of this step done.
  void do_what_is_due() {
    const std::int64_t step = trainer_.step();
    if (stop_.requested()) stop();
    if (is_due(config_.train.evaluate_every) && evaluated_step_ != step) evaluate();
    if (stop_.requested()) stop();
    if (is_due(config_.train.sample_every) && sampled_step_ != step) sample();
    if (stop_.requested()) stop();
    const bool is_best = config_.train.keep_best && best_.state().step == step;
    if ((is_best || is_due(config_.train.checkpoint_every)) && checkpoints_.last_step() != step) {
      save();
    }
    if (is_best && checkpoints_.last_step() == step) checkpoints_.mark_best();
    if (stop_.requested() && !is_finished()) stop();
  }

  void announce() const {
    const model::ParameterCounts counts = model::count_parameters(config_.model);
    const auto activated = [&counts](double k) { return format_count(counts.activated(k)); };
    log::info("run {}: {} parameters{}, {} training windows of {} tokens", folder_.path().string(),
              format_count(static_cast<double>(counts.total)),
              counts.num_moe_layers == 0 ? std::string()
                                         : fmt::format(" ({} / {} used per token at 1 / 2 experts)",
                                                       activated(1.0), activated(2.0)),
              parts_.training.num_samples_per_epoch(), config_.data.sequence_length);
    log::info("{} threads on {}, {} peak {:.0f} GFLOP/s; {} steps of {} tokens",
              environment_.facts.at("threads"), environment_.facts.at("cpu"),
              config_.train.precision, environment_.peak_flops / 1e9, config_.train.steps,
              format_count(static_cast<double>(config_.train.global_batch_size *
                                               config_.data.sequence_length)));
  }

  void log_step(const StepSums& sums) {
    statistics_.add(sums);
    if (sums.skipped) {
      log::warning("step {}: loss or gradient is not finite: step skipped ({} in a row)", sums.step,
                   trainer_.num_skipped_in_a_row());
    }
    for (const telemetry::ExpertChange& change : expert_watch_.add(sums)) {
      const auto write = change.is_warning() ? log::write_warning : log::write_info;
      write(fmt::format("step {}: {}", sums.step, change.message(config_.model.moe.loss)));
    }
    // The first step is always logged: it tells that all is well, and how fast.
    if (sums.step == first_step_ + 1 || is_due(config_.train.log_every)) write_record();
  }

  // Of the steps since the last one.
  void write_record() {
    if (statistics_.empty()) return;
    const StepRecord record =
        statistics_.take_record(trainer_.phases(), memory_bytes(parts_.decoder->device()));
    trainer_.phases().reset();
    metrics_.write(telemetry::to_json(record));
    events_->write(record);
    const double eta = seconds_since(start_) / static_cast<double>(record.step - first_step_) *
                       static_cast<double>(config_.train.steps - record.step);
    printer_.print(telemetry::format_step_line(
        record, {.total_steps = config_.train.steps, .eta_seconds = eta}));
  }

  [[nodiscard]] checkpoint::SaveRequest checkpoint_request() const {
    checkpoint::SaveRequest request = save_request(*parts_.decoder);
    add_moments(request, trainer_.optimizer());
    request.training_state =
        to_json(TrainingState{.trainer = trainer_.state(),
                              .totals = statistics_.totals(),
                              .best = best_.state(),
                              .evaluated_step = evaluated_step_,
                              .sampled_step = sampled_step_,
                              .data_fingerprint = parts_.training.fingerprint()});
    request.step = trainer_.step();
    request.tokenizer_file = tokenizer().file_name();
    request.tokenizer_bytes = tokenizer().serialized();
    request.resolved_config = config::to_yaml(config_);
    request.environment = environment_.facts;
    return request;
  }

  void save() {
    const Phase phase(trainer_.phases(), "save");
    checkpoints_.save(checkpoint_request());
  }

  void evaluate() {
    if (!parts_.validation.has_value()) return;
    const Phase phase(trainer_.phases(), "evaluate");
    const auto start = Clock::now();
    std::optional<ProgressBar> bar;  // only where it can go away again
    const auto progress = [&bar](std::int64_t done, std::int64_t total) {
      if (!stderr_is_terminal()) return;
      if (!bar.has_value()) bar.emplace("evaluating", static_cast<std::uint64_t>(total));
      bar->advance_to(static_cast<std::uint64_t>(done));
    };
    const std::optional<ValidationResult> result =
        evaluate_validation(*parts_.decoder, *parts_.validation,
                            {.attend_across_documents = config_.data.attend_across_documents,
                             .max_tokens = config_.train.evaluate_tokens,
                             .step = trainer_.step(),
                             .should_stop = [this] { return stop_.requested(); },
                             .progress = progress});
    bar.reset();
    if (!result.has_value()) return;
    EvaluationRecord record;
    record.step = trainer_.step();
    record.loss = result->sums.loss();
    record.perplexity = std::exp(record.loss);
    if (result->num_bytes > 0) {
      record.bits_per_byte =
          result->sums.nats / std::numbers::ln2 / static_cast<double>(result->num_bytes);
    }
    record.experts_per_token = result->sums.experts_per_token();
    record.tokens = result->sums.num_tokens;
    record.seconds = seconds_since(start);
    metrics_.write(telemetry::to_json(record));
    events_->write(record);
    log::write_info(
        telemetry::format_evaluation_line(record, best_.judge(record.step, record.loss)));
    evaluation_ = record;
    evaluated_step_ = record.step;
    if (stopped_early()) {
      log::info("stopping early: no improvement for {} evaluations",
                best_.state().num_without_improvement);
    }
  }

  void sample() {
    const std::string& prompt = config_.train.sample_prompt;
    if (prompt.empty() && !tokenizer().separator_id().has_value()) return;  // nothing to start from
    const Phase phase(trainer_.phases(), "sample");
    const Generation generation = generate(*parts_.decoder, tokenizer(), prompt,
                                           {.sampling = {.seed = config_.run.seed},
                                            .max_tokens = config_.train.sample_tokens,
                                            .sequence_length = config_.data.sequence_length,
                                            .step = trainer_.step()});
    folder_.write_sample(trainer_.step(), prompt + generation.text + "\n");
    log::write_info(fmt::format("step {} sample: {}", trainer_.step(),
                                printable_text(prompt + generation.text)));
    sampled_step_ = trainer_.step();
  }

  void stop_if_not_finite() {
    if (trainer_.num_skipped_in_a_row() < config_.train.max_skipped_steps) return;
    write_record();
    save();
    checkpoints_.check_last_save();
    throw NonFiniteError(
        fmt::format("step {}: loss or gradient was not finite for {} steps in a row; the weights "
                    "before them are in {}",
                    trainer_.step(), trainer_.num_skipped_in_a_row(), checkpoints_.last().string()),
        "lower optim.learning_rate, or look at the data of these steps");
  }

  [[noreturn]] void stop() {
    write_record();
    if (checkpoints_.last_step() != trainer_.step()) save();
    checkpoints_.check_last_save();
    throw PreemptedError(fmt::format("stopped by {} after step {} of {}; saved {}", stop_.name(),
                                     trainer_.step(), config_.train.steps,
                                     checkpoints_.last().string()));
  }

  PretrainResult summarize() {
    write_record();  // after an early stop
    checkpoints_.check_last_save();
    const double seconds = seconds_since(start_);
    const std::string run = folder_.path().string();
    const std::int64_t num_steps = trainer_.step() - first_step_;
    const std::int64_t num_tokens = statistics_.totals().tokens - first_tokens_;
    if (num_steps > 0) {
      log::info("done: {} steps, {} tokens in {} ({} tok/s)", num_steps,
                format_count(static_cast<double>(num_tokens)), format_duration(seconds),
                format_count(static_cast<double>(num_tokens) / seconds));
    } else if (stopped_early()) {
      log::info(
          "done already: the run stopped early at step {}; a larger "
          "train.early_stop_patience goes on",
          trainer_.step());
    } else {
      log::info("done already: all {} steps were made; train.steps=N goes on", trainer_.step());
    }
    log::info("weights: {}", checkpoints_.last().string());
    if (const std::filesystem::path best = checkpoints_.best(); !best.empty()) {
      log::info("best:    {}", best.string());
    }
    log::info("next:    switchyard evaluate {} --text FILE", run);
    log::info("         switchyard generate {} --prompt TEXT --show-experts", run);
    return {.num_steps = trainer_.step(),
            .num_tokens = statistics_.totals().tokens,
            .checkpoint = checkpoints_.last(),
            .evaluation = evaluation_};
  }

  const StopSignal stop_;
  Build parts_;
  const config::Config& config_;
  RunFolder folder_;
  Environment environment_;
  std::unique_ptr<comm::Communicator> communicator_;
  parallel::RankGroups groups_;
  Trainer trainer_;
  telemetry::StepStatistics statistics_;
  telemetry::MetricsWriter metrics_;
  std::optional<telemetry::TensorBoardWriter> events_;  // of this session
  telemetry::ExpertWatch expert_watch_;
  telemetry::StepLinePrinter printer_;
  telemetry::BestTracker best_;
  CheckpointKeeper checkpoints_;
  std::optional<EvaluationRecord> evaluation_;
  std::int64_t evaluated_step_ = 0;  // 0 = none yet
  std::int64_t sampled_step_ = 0;
  // Where this process began.
  std::int64_t first_step_ = 0;
  std::int64_t first_tokens_ = 0;
  Clock::time_point start_{};
};

}  // namespace

PretrainResult pretrain(const config::Config& config) {
  RunFolder folder = RunFolder::create(config.run.dir);
  log::add_file(folder.log_file());
  Pretraining run(build(config), std::move(folder));
  const ReportAtEnd report(config.run.dir);
  return run.run();
}

PretrainResult resume(const config::Config& config, const config::AllowedChanges& allowed) {
  RunFolder folder = RunFolder::reopen(config.run.dir);
  log::add_file(folder.log_file());
  ResumePoint point = find_resume_point(folder, config, allowed);
  Build parts = build(config);
  check_data(point, parts.training, allowed);
  tidy_and_tell(point, config, folder);
  Pretraining run(std::move(parts), std::move(folder));
  run.restore(point);
  const ReportAtEnd report(config.run.dir);
  return run.run();
}

}  // namespace switchyard::train
