#include "train/tasks/next_token_task.h"

#include <fmt/format.h>

#include <cmath>
#include <utility>
#include <vector>

#include "switchyard/core/log.h"
#include "switchyard/core/text.h"
#include "switchyard/inference/batching.h"
#include "switchyard/inference/calibrate.h"
#include "switchyard/inference/generate.h"
#include "switchyard/train/token_difficulty.h"

namespace switchyard::train {

NextTokenObjective::NextTokenObjective(model::Decoder& decoder, NextTokenData data)
    : decoder_(decoder), data_(std::move(data)) {}

model::MicroBatch NextTokenObjective::micro_batch(std::int64_t first, std::int64_t count,
                                                  std::int64_t sequence_idx) const {
  std::vector<data::Sample> windows;
  for (std::int64_t i = first; i < first + count; ++i) windows.push_back(data_.window(i));
  return inference::make_batch(windows, {.attend_across_documents = data_.attend_across_documents,
                                         .separator = data_.separator,
                                         .first_sequence_idx = sequence_idx});
}

Objective::Result NextTokenObjective::forward(const model::MicroBatch& micro,
                                              const model::ForwardContext& context) {
  model::TrunkOutput output = decoder_.forward(micro.batch, context);
  return {.loss_sum = decoder_.head().loss_sum(output.hidden_TH, micro.batch.label_T),
          .routes = std::move(output.routes)};
}

NextTokenTask::NextTokenTask(const config::Config& config, model::Decoder& decoder,
                             const data::SampleSource& training,
                             const data::SampleSource* validation)
    : config_(config),
      decoder_(decoder),
      training_(training),
      validation_(validation),
      objective_(decoder, {.window = [&training](std::int64_t idx) { return training.get(idx); },
                           .separator = training.tokenizer().separator_id(),
                           .attend_across_documents = config.data.attend_across_documents}),
      flops_(model::pretraining_flops(config)) {}

inference::ValidationOptions NextTokenTask::validation_options(
    const EvaluationOptions& options) const {
  return {.attend_across_documents = config_.data.attend_across_documents,
          .max_tokens = config_.train.evaluate_tokens,
          .tokens_per_pass = inference::tokens_per_pass(config_.train.micro_batch_size,
                                                        config_.data.sequence_length),
          .step = options.step,
          .ranks = options.ranks,
          .should_stop = options.should_stop,
          .progress = options.progress};
}

std::optional<telemetry::EvaluationRecord> NextTokenTask::calibrate(
    const EvaluationOptions& options) {
  const std::optional<double> temperature =
      inference::fit_temperature(decoder_, *validation_, validation_options(options));
  if (!temperature.has_value()) return std::nullopt;
  const auto& tried = inference::tried_temperatures();
  if (temperature == tried.front() || temperature == tried.back()) {
    log::info("note: {:.2f} is the {} temperature that is tried: a better one may be beyond it",
              *temperature, temperature == tried.front() ? "lowest" : "highest");
  }
  decoder_.head().set_temperature(*temperature);
  std::optional<telemetry::EvaluationRecord> record = evaluate(options);
  if (!record.has_value()) return std::nullopt;
  record->split = "calibrated";
  record->temperature = temperature;
  return record;
}

std::optional<telemetry::EvaluationRecord> NextTokenTask::evaluate(
    const EvaluationOptions& options) {
  const std::optional<inference::ValidationResult> result =
      inference::evaluate_validation(decoder_, *validation_, validation_options(options));
  if (!result.has_value()) return std::nullopt;
  telemetry::EvaluationRecord record;
  record.loss = result->sums.loss();
  record.perplexity = std::exp(record.loss);
  record.bits_per_byte = result->bits_per_byte();
  record.lossless = result->lossless;
  record.experts_per_token = result->sums.experts_per_token();
  record.tokens = result->sums.num_tokens;
  record.difficulty = summarize_difficulty(result->difficulty);
  return record;
}

bool NextTokenTask::can_sample() const {
  return !config_.train.sample_prompt.empty() || tokenizer().separator_id().has_value();
}

std::optional<std::string> NextTokenTask::sample(const EvaluationOptions& options) {
  const std::string& prompt = config_.train.sample_prompt;
  const inference::Generation generation =
      inference::generate(decoder_, tokenizer(), prompt,
                          {.sampling = {.seed = config_.run.seed},
                           .max_tokens = config_.train.sample_tokens,
                           .sequence_length = config_.data.sequence_length,
                           .step = options.step,
                           .ranks = options.ranks,
                           .should_stop = options.should_stop});
  if (generation.was_stopped) return std::nullopt;
  return prompt + generation.text;
}

std::vector<std::string> NextTokenTask::next_commands(const std::string& run) const {
  const std::string folder = shell_path(run);
  return {fmt::format("switchyard evaluate {} --text FILE", folder),
          fmt::format("switchyard generate {} --prompt TEXT --show-experts", folder)};
}

std::string NextTokenTask::describe_samples() const {
  return fmt::format("{} of {}", counted(training_.num_samples_per_epoch(), "training window"),
                     counted(config_.data.sequence_length, "token"));
}

}  // namespace switchyard::train
