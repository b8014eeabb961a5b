#include "glue/classification_task.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mse_loss.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "switchyard/core/text.h"
#include "switchyard/glue/metrics.h"
#include "switchyard/inference/batching.h"
#include "switchyard/inference/evaluate.h"

namespace switchyard::glue {
namespace {

// `rows` side by side, with their labels.
model::MicroBatch batch_of(const std::vector<const EncodedRow*>& rows, const Task& task,
                           std::int64_t max_length, std::int64_t sequence_idx) {
  std::vector<std::vector<std::int32_t>> tokens;
  tokens.reserve(rows.size());
  for (const EncodedRow* row : rows) tokens.push_back(row->token);
  model::MicroBatch micro{.batch = inference::pack_rows(tokens, {.first_sequence_idx = sequence_idx,
                                                                 .row_stride = max_length})};
  const auto num_rows = static_cast<std::int64_t>(rows.size());
  if (task.has_pairs()) {
    micro.batch.second_B = at::empty({num_rows}, at::kLong);
    for (std::size_t b = 0; b < rows.size(); ++b) {
      micro.batch.second_B.mutable_data_ptr<std::int64_t>()[b] =
          micro.batch.sequence_offset[b] + rows[b]->second;
    }
  }
  at::Tensor label_B = at::empty({num_rows}, task.is_regression() ? at::kFloat : at::kLong);
  for (std::int64_t b = 0; b < num_rows; ++b) {
    const double label = rows[static_cast<std::size_t>(b)]->label;
    if (task.is_regression()) {
      label_B.mutable_data_ptr<float>()[b] = static_cast<float>(label);
    } else {
      label_B.mutable_data_ptr<std::int64_t>()[b] = static_cast<std::int64_t>(label);
    }
  }
  micro.batch.label_B = label_B;
  micro.num_tokens = micro.batch.num_tokens();
  micro.num_labels = num_rows;
  return micro;
}

at::Tensor loss_sum(const at::Tensor& logits_BC, const at::Tensor& label_B, const Task& task) {
  if (task.is_regression()) {
    return at::mse_loss(logits_BC.squeeze(1), label_B.to(logits_BC.scalar_type()),
                        at::Reduction::Sum);
  }
  return at::cross_entropy_loss(logits_BC, label_B, /*weight=*/{}, at::Reduction::Sum);
}

// Rows that are computed together.
struct Pass {
  std::int64_t first = 0;
  std::vector<const EncodedRow*> rows = {};
};

std::vector<Pass> passes_of(const EncodedSet& set, std::int64_t tokens_per_pass) {
  std::vector<Pass> passes;
  std::int64_t num_tokens = 0;
  for (std::size_t i = 0; i < set.rows.size(); ++i) {
    const std::int64_t length = std::ssize(set.rows[i].token);
    if (passes.empty() || num_tokens + length > tokens_per_pass) {
      passes.push_back({.first = static_cast<std::int64_t>(i)});
      num_tokens = 0;
    }
    passes.back().rows.push_back(&set.rows[i]);
    num_tokens += length;
  }
  return passes;
}

std::vector<double> labels_of(const EncodedSet& set) {
  std::vector<double> labels;
  for (const EncodedRow& row : set.rows) labels.push_back(row.label);
  return labels;
}

}  // namespace

ClassificationObjective::ClassificationObjective(model::Classifier& classifier,
                                                 const EncodedSet& rows, const Task& task,
                                                 std::int64_t max_length, const RowOrder& order)
    : classifier_(classifier), rows_(rows), task_(task), max_length_(max_length), order_(order) {}

model::MicroBatch ClassificationObjective::micro_batch(std::int64_t first, std::int64_t count,
                                                       std::int64_t sequence_idx) const {
  std::vector<const EncodedRow*> chosen;
  for (std::int64_t n = first; n < first + count; ++n) {
    const std::optional<std::int64_t> row = order_.row(n);
    if (row) chosen.push_back(&rows_.rows[static_cast<std::size_t>(*row)]);
  }
  return batch_of(chosen, task_, max_length_, sequence_idx);
}

train::Objective::Result ClassificationObjective::forward(const model::MicroBatch& micro,
                                                          const model::ForwardContext& context) {
  model::TrunkOutput output = classifier_.forward(micro.batch, context);
  const at::Tensor logits_BC = classifier_.head().logits(output.hidden_TH, micro.batch);
  return {.loss_sum = loss_sum(logits_BC, micro.batch.label_B, task_),
          .routes = std::move(output.routes)};
}

RowOrder row_order(const config::Config& config, const EncodedSet& rows) {
  return {std::ssize(rows.rows), config.train.global_batch_size, config.finetune.epochs,
          config.run.seed};
}

model::TrainingFlops training_flops(const config::Config& config, const EncodedSet& rows) {
  const std::int64_t mean_length =
      rows.num_tokens / std::max<std::int64_t>(1, std::ssize(rows.rows));
  // The head sees a row once: nothing beside the trunk.
  return model::count_training_flops(config.model, mean_length, 0.0);
}

std::optional<double> Predictions::experts_per_token() const {
  if (expert_rows_of_layer.empty() || num_tokens == 0) return std::nullopt;
  double sum = 0.0;
  for (const auto& [layer, mean] : experts_per_token_of_layer()) sum += mean;
  return sum / static_cast<double>(expert_rows_of_layer.size());
}

std::map<std::int64_t, double> Predictions::experts_per_token_of_layer() const {
  std::map<std::int64_t, double> means;
  for (const auto& [layer, rows] : expert_rows_of_layer) {
    means[layer] = static_cast<double>(rows) / static_cast<double>(num_tokens);
  }
  return means;
}

std::optional<Predictions> predict(model::Classifier& classifier, const Task& task,
                                   const EncodedSet& set, std::int64_t max_length,
                                   const PassOptions& options) {
  const at::NoGradGuard no_grad;
  // Of all ranks, so that their number changes no bit.
  const std::int64_t rows_per_pass = options.micro_batch_size * options.ranks.num_ranks;
  const std::vector<Pass> passes =
      passes_of(set, inference::tokens_per_pass(rows_per_pass, max_length));
  const auto num_rows = std::ssize(set.rows);
  const auto num_passes = std::ssize(passes);
  const std::int64_t num_layers = classifier.config().num_layers;
  // The rows' values, the passes' losses, the layers' expert rows; exact also as a sum over ranks.
  at::Tensor found = at::zeros({num_rows + num_passes + num_layers}, at::kDouble);
  auto* value = found.mutable_data_ptr<double>();
  auto* loss = value + num_rows;
  auto* expert_rows = loss + num_passes;
  for (std::int64_t begin = 0; begin < num_passes; begin += options.ranks.num_ranks) {
    if (options.should_stop && options.should_stop()) return std::nullopt;
    const std::int64_t own = begin + options.ranks.rank;
    if (own >= num_passes) continue;
    const Pass& pass = passes[static_cast<std::size_t>(own)];
    model::Batch batch = batch_of(pass.rows, task, max_length, 0).batch;
    batch = model::to_device(batch, classifier.device());
    const model::TrunkOutput output = classifier.forward(batch, {.step = options.step});
    const at::Tensor logits_BC = classifier.head().logits(output.hidden_TH, batch);
    loss[own] = loss_sum(logits_BC, batch.label_B, task).item<double>();
    const at::Tensor values = (task.is_regression() ? logits_BC.squeeze(1) : logits_BC.argmax(1))
                                  .to(at::kCPU, at::kDouble)
                                  .contiguous();
    std::copy_n(values.const_data_ptr<double>(), values.numel(), value + pass.first);
    for (const model::LayerRoute& route : output.routes) {
      expert_rows[route.layer] += static_cast<double>(route.routing.num_rows());
    }
    if (options.progress) {
      options.progress(std::min(num_rows, pass.first + std::ssize(pass.rows)), num_rows);
    }
  }
  if (options.ranks.sum) options.ranks.sum(found);
  value = found.mutable_data_ptr<double>();
  loss = value + num_rows;
  expert_rows = loss + num_passes;
  Predictions result{
      .value = {value, value + num_rows},
      .loss = std::accumulate(loss, loss + num_passes, 0.0) / static_cast<double>(num_rows),
      .num_tokens = set.num_tokens,
      .expert_rows_of_layer = {}};
  for (const auto& [layer, router] : classifier.routers()) {
    result.expert_rows_of_layer[layer] = std::llround(expert_rows[layer]);
  }
  return result;
}

ClassificationTask::ClassificationTask(const config::Config& config, model::Classifier& classifier,
                                       const glue::Task& task, const TaskData& data)
    : config_(config),
      classifier_(classifier),
      task_(task),
      data_(data),
      objective_(classifier, data.train, task, config.finetune.max_length,
                 row_order(config, data.train)),
      flops_(training_flops(config, data.train)) {}

std::optional<telemetry::EvaluationRecord> ClassificationTask::evaluate(
    const train::EvaluationOptions& options) {
  telemetry::EvaluationRecord record;
  record.split = "dev";
  for (std::size_t i = 0; i < data_.dev.size(); ++i) {
    const auto predicted = predict(classifier_, task_, data_.dev[i], config_.finetune.max_length,
                                   {.step = options.step,
                                    .micro_batch_size = config_.train.micro_batch_size,
                                    .ranks = options.ranks,
                                    .should_stop = options.should_stop,
                                    .progress = i == 0 ? options.progress : nullptr});
    if (!predicted) return std::nullopt;
    const auto values = metrics_of(task_, predicted->value, labels_of(data_.dev[i]));
    for (const auto& [name, value] : values) record.metrics[name + task_.dev[i].suffix] = value;
    if (i > 0) continue;
    record.loss = predicted->loss;
    record.experts_per_token = predicted->experts_per_token();
    record.tokens = predicted->num_tokens;
  }
  return record;
}

double ClassificationTask::judged(const telemetry::EvaluationRecord& record) const {
  const auto found = record.metrics.find(metric_name(task_.metrics.front()));
  if (found == record.metrics.end()) return std::numeric_limits<double>::quiet_NaN();
  return -found->second;
}

std::string ClassificationTask::describe_samples() const {
  return fmt::format("{} of {} and {} to judge it by",
                     counted(std::ssize(data_.train.rows), "training row"), task_.folder,
                     std::ssize(data_.dev.front().rows));
}

}  // namespace switchyard::glue
