#include "switchyard/telemetry/step_statistics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "switchyard/core/error.h"

namespace switchyard::telemetry {
namespace {

std::int64_t total(const std::vector<std::int64_t>& counts) {
  return std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
}

double ratio(double numerator, double denominator) {
  return denominator == 0.0 ? 0.0 : numerator / denominator;
}

void add_counts(std::vector<std::int64_t>& sum, const std::vector<std::int64_t>& counts) {
  SWITCHYARD_CHECK(sum.size() == counts.size(), "{} counts added to {}", counts.size(), sum.size());
  std::transform(sum.begin(), sum.end(), counts.begin(), sum.begin(), std::plus<>());
}

double with_one_expert(const LayerSums& sums) {
  return sums.k_histogram_E1.size() < 2 ? 0.0 : static_cast<double>(sums.k_histogram_E1[1]);
}

RoutingRecord routing_record(const LayerSums& sums) {
  RoutingRecord record;
  const auto num_tokens = static_cast<double>(sums.num_tokens);
  record.experts_per_token = ratio(static_cast<double>(total(sums.count_E)), num_tokens);
  record.experts_per_token_p5 = histogram_percentile(sums.k_histogram_E1, 0.05);
  record.experts_per_token_p95 = histogram_percentile(sums.k_histogram_E1, 0.95);
  record.router_entropy = ratio(sums.entropy_sum, num_tokens);
  record.max_violation = max_violation(sums.count_E);
  record.dead_experts = std::count(sums.count_E.begin(), sums.count_E.end(), 0);
  record.dead_fraction =
      ratio(static_cast<double>(record.dead_experts), static_cast<double>(sums.count_E.size()));
  record.single_expert_share = ratio(with_one_expert(sums), num_tokens);
  record.gauges = sums.gauges;
  return record;
}

double mean_experts(const std::vector<LayerSums>& layers) {
  std::int64_t num_pairs = 0;
  std::int64_t num_rows = 0;
  for (const LayerSums& layer : layers) {
    num_pairs += layer.num_tokens;
    num_rows += total(layer.count_E);
  }
  return ratio(static_cast<double>(num_rows), static_cast<double>(num_pairs));
}

std::map<std::string, double> mean_gauges(const std::vector<LayerSums>& layers) {
  std::map<std::string, double> sum;
  std::map<std::string, double> count;
  for (const LayerSums& layer : layers) {
    for (const auto& [name, value] : layer.gauges) {
      sum[name] += value;
      count[name] += 1.0;
    }
  }
  for (auto& [name, value] : sum) value /= count.at(name);
  return sum;
}

// All layers together. Layers may differ in their number of experts.
RoutingRecord routing_record(const std::vector<LayerSums>& layers) {
  RoutingRecord record;
  std::int64_t num_pairs = 0;
  std::int64_t num_experts = 0;
  double entropy_sum = 0.0;
  double num_with_one = 0.0;
  std::vector<std::int64_t> histogram;
  for (const LayerSums& layer : layers) {
    num_pairs += layer.num_tokens;
    num_experts += static_cast<std::int64_t>(layer.count_E.size());
    entropy_sum += layer.entropy_sum;
    num_with_one += with_one_expert(layer);
    record.max_violation = std::max(record.max_violation, max_violation(layer.count_E));
    record.dead_experts += std::count(layer.count_E.begin(), layer.count_E.end(), 0);
    histogram.resize(std::max(histogram.size(), layer.k_histogram_E1.size()));
    for (std::size_t k = 0; k < layer.k_histogram_E1.size(); ++k) {
      histogram[k] += layer.k_histogram_E1[k];
    }
  }
  record.experts_per_token = mean_experts(layers);
  record.experts_per_token_p5 = histogram_percentile(histogram, 0.05);
  record.experts_per_token_p95 = histogram_percentile(histogram, 0.95);
  record.router_entropy = ratio(entropy_sum, static_cast<double>(num_pairs));
  record.dead_fraction =
      ratio(static_cast<double>(record.dead_experts), static_cast<double>(num_experts));
  record.single_expert_share = ratio(num_with_one, static_cast<double>(num_pairs));
  record.gauges = mean_gauges(layers);
  return record;
}

}  // namespace

double experts_per_token(const StepSums& sums) {
  return mean_experts(sums.layers);
}

std::int64_t histogram_percentile(const std::vector<std::int64_t>& histogram, double share) {
  const std::int64_t num = total(histogram);
  if (num == 0) return 0;
  const auto wanted =
      std::max<std::int64_t>(1, std::llround(std::ceil(share * static_cast<double>(num))));
  std::int64_t seen = 0;
  for (std::size_t k = 0; k < histogram.size(); ++k) {
    seen += histogram[k];
    if (seen >= wanted) return static_cast<std::int64_t>(k);
  }
  return static_cast<std::int64_t>(histogram.size()) - 1;
}

double max_violation(const std::vector<std::int64_t>& count_E) {
  const std::int64_t num_rows = total(count_E);
  if (num_rows == 0) return 0.0;
  const double mean = static_cast<double>(num_rows) / static_cast<double>(count_E.size());
  return static_cast<double>(*std::max_element(count_E.begin(), count_E.end())) / mean - 1.0;
}

StepStatistics::StepStatistics(StatisticsOptions options) : options_(std::move(options)) {}

void StepStatistics::add(const StepSums& sums) {
  ++num_steps_;
  window_tokens_ += sums.num_tokens;
  window_seconds_ += sums.seconds;
  totals_.tokens += sums.num_tokens;
  if (totals_.expert_rows) {
    for (const LayerSums& layer : sums.layers) *totals_.expert_rows += total(layer.count_E);
  }
  last_ = sums;
  if (sums.skipped) {
    ++totals_.skipped;
    return;
  }
  ++num_applied_;
  window_.lm_loss += sums.lm_loss;
  window_.grad_norm += sums.grad_norm;
  add_layers(sums.layers);
}

void StepStatistics::add_layers(const std::vector<LayerSums>& layers) {
  if (window_.layers.empty()) {
    window_.layers = layers;
    return;
  }
  SWITCHYARD_CHECK(window_.layers.size() == layers.size(), "{} MoE layers, expected {}",
                   layers.size(), window_.layers.size());
  for (std::size_t i = 0; i < layers.size(); ++i) {
    LayerSums& sum = window_.layers[i];
    sum.num_tokens += layers[i].num_tokens;
    add_counts(sum.count_E, layers[i].count_E);
    add_counts(sum.k_histogram_E1, layers[i].k_histogram_E1);
    sum.entropy_sum += layers[i].entropy_sum;
    sum.losses.load_balance += layers[i].losses.load_balance;
    sum.losses.dynamic += layers[i].losses.dynamic;
    sum.losses.z += layers[i].losses.z;
    sum.losses.l1 += layers[i].losses.l1;
    sum.weighted_l1 += layers[i].weighted_l1;
    sum.router_grad_norm += layers[i].router_grad_norm;
    sum.gauges = layers[i].gauges;
  }
}

StepRecord StepStatistics::take_record(const SpanTimer& phases, std::uint64_t memory_bytes) {
  SWITCHYARD_CHECK(num_steps_ > 0, "a record of no steps");
  StepRecord record;
  record.step = last_.step;
  record.tokens = totals_.tokens;
  record.learning_rate = last_.learning_rate;
  record.memory_bytes = memory_bytes;
  record.skipped_steps = totals_.skipped;
  const auto num_steps = static_cast<double>(num_steps_);
  record.step_ms = window_seconds_ * 1e3 / num_steps;
  record.tokens_per_second = ratio(static_cast<double>(window_tokens_), window_seconds_);
  record.layers = layer_records();
  if (!window_.layers.empty()) {
    record.routing = routing_record(window_.layers);
    double squares = 0.0;
    for (const LayerRecord& layer : record.layers) {
      squares += layer.routing.router_grad_norm * layer.routing.router_grad_norm;
    }
    record.routing->router_grad_norm = std::sqrt(squares);
  }
  fill_losses(record);
  if (options_.peak_flops > 0.0 && options_.flops_per_token) {
    const double k = record.routing.has_value() ? record.routing->experts_per_token : 0.0;
    record.mfu = options_.flops_per_token(k) * record.tokens_per_second / options_.peak_flops;
  }
  for (const auto& [name, elapsed] : phases.spans()) {
    record.phase_ms[name] = std::chrono::duration<double, std::milli>(elapsed).count() / num_steps;
  }
  window_ = {};
  num_steps_ = 0;
  num_applied_ = 0;
  window_tokens_ = 0;
  window_seconds_ = 0.0;
  return record;
}

std::vector<LayerRecord> StepStatistics::layer_records() const {
  std::vector<LayerRecord> records;
  for (const LayerSums& sums : window_.layers) {
    const auto num_applied = static_cast<double>(num_applied_);
    LayerRecord record{.layer = sums.layer,
                       .routing = routing_record(sums),
                       .losses = {.load_balance = sums.losses.load_balance / num_applied,
                                  .dynamic = sums.losses.dynamic / num_applied,
                                  .z = sums.losses.z / num_applied,
                                  .l1 = sums.losses.l1 / num_applied},
                       .load = {},
                       .k_histogram = sums.k_histogram_E1};
    record.routing.router_grad_norm = sums.router_grad_norm / num_applied;
    const auto num_rows = static_cast<double>(total(sums.count_E));
    for (const std::int64_t count : sums.count_E) {
      record.load.push_back(ratio(static_cast<double>(count), num_rows));
    }
    records.push_back(std::move(record));
  }
  return records;
}

void StepStatistics::fill_losses(StepRecord& record) const {
  if (num_applied_ == 0) {
    record.loss = record.lm_loss = record.grad_norm = std::numeric_limits<double>::quiet_NaN();
    return;
  }
  const auto num_applied = static_cast<double>(num_applied_);
  record.lm_loss = window_.lm_loss / num_applied;
  record.grad_norm = window_.grad_norm / num_applied;
  LossTerms sum;  // over layers
  for (const LayerRecord& layer : record.layers) {
    sum.load_balance += layer.losses.load_balance;
    sum.dynamic += layer.losses.dynamic;
    sum.z += layer.losses.z;
    sum.l1 += layer.losses.l1;
  }
  double weighted_l1 = 0.0;
  for (const LayerSums& layer : window_.layers) weighted_l1 += layer.weighted_l1 / num_applied;
  const auto num_layers = static_cast<double>(record.layers.size());
  record.losses = {.load_balance = ratio(sum.load_balance, num_layers),
                   .dynamic = ratio(sum.dynamic, num_layers),
                   .z = ratio(sum.z, num_layers),
                   .l1 = ratio(sum.l1, num_layers)};
  record.weighted = {.load_balance = options_.loss.load_balance * sum.load_balance,
                     .dynamic = options_.loss.dynamic * sum.dynamic,
                     .z = options_.loss.z * sum.z,
                     .l1 = weighted_l1};
  const LossTerms& weighted = record.weighted;
  record.loss =
      record.lm_loss + weighted.load_balance + weighted.dynamic + weighted.z + weighted.l1;
}

}  // namespace switchyard::telemetry
