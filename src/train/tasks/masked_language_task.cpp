#include "train/tasks/masked_language_task.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <fmt/format.h>

#include <cmath>
#include <span>
#include <utility>

#include "switchyard/core/error.h"
#include "switchyard/core/text.h"
#include "switchyard/inference/batching.h"
#include "switchyard/inference/evaluate.h"
#include "switchyard/inference/sample_passes.h"

namespace switchyard::train {
namespace {

constexpr std::int64_t kNoLabel = -1;
constexpr std::uint64_t kEvaluationSeed = 0;  // of masks that every run is judged by

// Where in a row, behind its cls, a further document begins.
std::vector<std::int64_t> find_cuts(const MaskedData& data, const data::Sample& window,
                                    std::int64_t num_tokens) {
  std::vector<std::int64_t> cuts;
  if (data.attend_across_documents) return cuts;
  const auto separator = data.tokenizer ? data.tokenizer->separator_id() : std::nullopt;
  if (!separator) {
    for (const std::int64_t start : window.document_start) {
      if (start > 0 && start < num_tokens) cuts.push_back(start + 1);
    }
    return cuts;
  }
  for (std::int64_t i = 1; i < num_tokens; ++i) {
    if (window.token[static_cast<std::size_t>(i)] == *separator) cuts.push_back(i + 1);
  }
  return cuts;
}

struct Row {
  data::MaskedTokens masked;
  std::vector<std::int64_t> cuts;
};

Row make_row(const MaskedData& data, std::int64_t number) {
  const data::Sample window = data.window(number);
  const std::int64_t num_tokens = data.sequence_length - 2;
  SWITCHYARD_CHECK(num_tokens >= 1 && std::ssize(window.token) >= num_tokens,
                   "a window of {} tokens for sequences of {}", window.token.size(),
                   data.sequence_length);
  Row row{.masked = {}, .cuts = find_cuts(data, window, num_tokens)};
  const auto separator = data.tokenizer ? data.tokenizer->separator_id() : std::nullopt;
  std::vector<std::int32_t> token{data.special.cls};
  token.insert(token.end(), window.token.begin(), window.token.begin() + num_tokens);
  token.push_back(data.special.sep);
  for (const std::int64_t cut : row.cuts) {
    std::int32_t& begin = token[static_cast<std::size_t>(cut)];
    if (begin == separator) begin = data.special.cls;
  }
  const std::vector<bool> words = data.masking.whole_words && data.tokenizer
                                      ? data::word_starts(token, *data.tokenizer)
                                      : std::vector<bool>();
  row.masked = data::mask_tokens(token, words, data.special, separator, data.masking, number);
  return row;
}

}  // namespace

model::MicroBatch masked_batch(const MaskedData& data, std::int64_t first, std::int64_t count,
                               std::int64_t sequence_idx) {
  std::vector<std::vector<std::int32_t>> rows;
  inference::PackOptions pack{.first_sequence_idx = sequence_idx,
                              .row_stride = data.sequence_length};
  std::vector<std::int64_t> label_token;
  std::vector<std::int64_t> label;
  for (std::int64_t i = 0; i < count; ++i) {
    Row row = make_row(data, first + i);
    for (const std::int64_t position : row.masked.position) {
      label_token.push_back(i * data.sequence_length + position);
    }
    label.insert(label.end(), row.masked.label.begin(), row.masked.label.end());
    rows.push_back(std::move(row.masked.token));
    pack.cuts.push_back(std::move(row.cuts));
  }
  model::MicroBatch micro{.batch = inference::pack_rows(rows, pack)};
  micro.num_tokens = micro.batch.num_tokens();
  micro.num_labels = std::ssize(label);
  micro.batch.label_token_M = at::tensor(label_token, at::kLong);
  micro.batch.label_T = at::full({micro.num_tokens}, kNoLabel, at::kLong);
  micro.batch.label_T.index_copy_(0, micro.batch.label_token_M, at::tensor(label, at::kLong));
  return micro;
}

MaskedLanguageObjective::MaskedLanguageObjective(model::Encoder& encoder, MaskedData data)
    : encoder_(encoder), data_(std::move(data)) {}

model::MicroBatch MaskedLanguageObjective::micro_batch(std::int64_t first, std::int64_t count,
                                                       std::int64_t sequence_idx) const {
  return masked_batch(data_, first, count, sequence_idx);
}

Objective::Result MaskedLanguageObjective::forward(const model::MicroBatch& micro,
                                                   const model::ForwardContext& context) {
  model::TrunkOutput output = encoder_.forward(micro.batch, context);
  return {.loss_sum = encoder_.head().loss_sum(output.hidden_TH, micro.batch),
          .routes = std::move(output.routes)};
}

MaskedLanguageTask::MaskedLanguageTask(const config::Config& config, model::Encoder& encoder,
                                       const data::SampleSource& training,
                                       const data::SampleSource* validation)
    : config_(config),
      encoder_(encoder),
      training_(training),
      validation_(validation),
      objective_(encoder, data_of(training, config.run.seed)),
      flops_(model::pretraining_flops(config)) {}

MaskedData MaskedLanguageTask::data_of(const data::SampleSource& source, std::uint64_t seed) const {
  return {.window = [&source](std::int64_t idx) { return source.get(idx); },
          .sequence_length = config_.data.sequence_length,
          .special = data::SpecialTokens::behind(source.tokenizer().vocab_size()),
          .masking = {.rate = config_.data.mask_rate,
                      .whole_words = config_.data.mask_whole_words,
                      .seed = seed},
          .tokenizer = source.tokenizer(),
          .attend_across_documents = config_.data.attend_across_documents};
}

std::optional<telemetry::EvaluationRecord> MaskedLanguageTask::evaluate(
    const EvaluationOptions& options) {
  const at::NoGradGuard no_grad;
  const std::int64_t length = config_.data.sequence_length;
  const inference::ValidationOptions validation{
      .max_tokens = config_.train.evaluate_tokens,
      .tokens_per_pass = inference::tokens_per_pass(config_.train.micro_batch_size, length),
      .ranks = options.ranks,
      .should_stop = options.should_stop,
      .progress = options.progress};
  const inference::SamplePasses passes(validation_->num_samples_per_epoch(), length, validation);
  const MaskedData data = data_of(*validation_, kEvaluationSeed);
  const auto sums = compute_passes(passes.shared(4), [&](std::int64_t pass, std::span<double> row) {
    const std::int64_t first = passes.first(pass);
    const model::MicroBatch micro = masked_batch(data, first, passes.count(pass), first);
    const model::Batch batch = model::to_device(micro.batch, encoder_.device());
    const model::TrunkOutput output = encoder_.forward(batch, {.step = options.step});
    row[0] = encoder_.head().loss_sum(output.hidden_TH, batch).item<double>();
    row[1] = static_cast<double>(micro.num_labels);
    row[2] = row[3] = 0.0;
    for (const model::LayerRoute& route : output.routes) {
      row[2] += static_cast<double>(route.routing.num_rows());
      row[3] += static_cast<double>(micro.num_tokens);  // pairs of a token and an MoE layer
    }
  });
  if (!sums.has_value()) return std::nullopt;
  double nats = 0.0;
  std::int64_t num_labels = 0;
  double num_expert_rows = 0.0;
  double num_pairs = 0.0;
  for (std::int64_t pass = 0; pass < sums->size(0); ++pass) {
    const auto* row = (*sums)[pass].const_data_ptr<double>();
    nats += row[0];
    num_labels += static_cast<std::int64_t>(row[1]);
    num_expert_rows += row[2];
    num_pairs += row[3];
  }
  telemetry::EvaluationRecord record;
  record.loss = num_labels == 0 ? 0.0 : nats / static_cast<double>(num_labels);
  record.perplexity = std::exp(record.loss);
  if (num_pairs > 0.0) record.experts_per_token = num_expert_rows / num_pairs;
  record.tokens = num_labels;
  return record;
}

std::vector<std::string> MaskedLanguageTask::next_commands(const std::string& run) const {
  return {fmt::format("switchyard finetune --task TASK --data GLUE --from {} --output DIR",
                      shell_path(run))};
}

std::string MaskedLanguageTask::describe_samples() const {
  return fmt::format("{} of {}", counted(training_.num_samples_per_epoch(), "training window"),
                     counted(config_.data.sequence_length, "token"));
}

}  // namespace switchyard::train
