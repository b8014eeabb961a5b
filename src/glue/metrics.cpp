#include "switchyard/glue/metrics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "switchyard/core/error.h"

namespace switchyard::glue {
namespace {

void check_sizes(std::span<const double> predicted, std::span<const double> actual) {
  SWITCHYARD_CHECK(predicted.size() == actual.size() && !actual.empty(),
                   "{} predictions of {} labels", predicted.size(), actual.size());
}

std::vector<double> centred(std::span<const double> values) {
  const double mean =
      std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
  std::vector<double> centred(values.begin(), values.end());
  for (double& value : centred) value -= mean;
  return centred;
}

// Ranks from 1; ties get the mean of theirs.
std::vector<double> ranks_of(std::span<const double> values) {
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return values[a] < values[b]; });
  std::vector<double> ranks(values.size());
  for (std::size_t begin = 0; begin < order.size();) {
    std::size_t end = begin + 1;
    while (end < order.size() && values[order[end]] == values[order[begin]]) ++end;
    const double mean = 0.5 * static_cast<double>(begin + 1 + end);
    for (std::size_t i = begin; i < end; ++i) ranks[order[i]] = mean;
    begin = end;
  }
  return ranks;
}

bool is_constant(std::span<const double> values) {
  return std::all_of(values.begin(), values.end(),
                     [&](double value) { return value == values.front(); });
}

}  // namespace

double accuracy(std::span<const double> predicted, std::span<const double> actual) {
  check_sizes(predicted, actual);
  std::size_t num_right = 0;
  for (std::size_t i = 0; i < actual.size(); ++i) num_right += predicted[i] == actual[i] ? 1 : 0;
  return static_cast<double>(num_right) / static_cast<double>(actual.size());
}

double f1(std::span<const double> predicted, std::span<const double> actual) {
  check_sizes(predicted, actual);
  std::size_t both = 0;
  std::size_t either = 0;  // true positives twice, false ones of both kinds once
  for (std::size_t i = 0; i < actual.size(); ++i) {
    both += predicted[i] == 1.0 && actual[i] == 1.0 ? 1 : 0;
    either += (predicted[i] == 1.0 ? 1 : 0) + (actual[i] == 1.0 ? 1 : 0);
  }
  return either == 0 ? 0.0 : 2.0 * static_cast<double>(both) / static_cast<double>(either);
}

double matthews_correlation(std::span<const double> predicted, std::span<const double> actual) {
  check_sizes(predicted, actual);
  const double classes = 1.0 + std::max(*std::max_element(predicted.begin(), predicted.end()),
                                        *std::max_element(actual.begin(), actual.end()));
  std::vector<double> num_predicted(static_cast<std::size_t>(classes));
  std::vector<double> num_actual(static_cast<std::size_t>(classes));
  double num_right = 0.0;
  for (std::size_t i = 0; i < actual.size(); ++i) {
    ++num_predicted[static_cast<std::size_t>(predicted[i])];
    ++num_actual[static_cast<std::size_t>(actual[i])];
    num_right += predicted[i] == actual[i] ? 1.0 : 0.0;
  }
  const auto product = [](const std::vector<double>& a, const std::vector<double>& b) {
    return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
  };
  const auto count = static_cast<double>(actual.size());
  const double both = num_right * count - product(num_actual, num_predicted);
  const double of_predicted = count * count - product(num_predicted, num_predicted);
  const double of_actual = count * count - product(num_actual, num_actual);
  if (of_predicted == 0.0 || of_actual == 0.0) return 0.0;
  return both / std::sqrt(of_predicted * of_actual);
}

double pearson(std::span<const double> predicted, std::span<const double> actual) {
  check_sizes(predicted, actual);
  if (is_constant(predicted) || is_constant(actual)) {
    return std::numeric_limits<double>::quiet_NaN();
  }
  const std::vector<double> x = centred(predicted);
  const std::vector<double> y = centred(actual);
  const auto norm = [](const std::vector<double>& v) {
    return std::sqrt(std::inner_product(v.begin(), v.end(), v.begin(), 0.0));
  };
  const double norm_x = norm(x);
  const double norm_y = norm(y);
  double sum = 0.0;
  for (std::size_t i = 0; i < x.size(); ++i) sum += x[i] / norm_x * (y[i] / norm_y);
  return std::clamp(sum, -1.0, 1.0);
}

double spearmanr(std::span<const double> predicted, std::span<const double> actual) {
  check_sizes(predicted, actual);
  const auto is_nan = [](double value) { return std::isnan(value); };
  if (std::any_of(predicted.begin(), predicted.end(), is_nan) ||
      std::any_of(actual.begin(), actual.end(), is_nan)) {
    return std::numeric_limits<double>::quiet_NaN();  // which has no rank
  }
  return pearson(ranks_of(predicted), ranks_of(actual));
}

std::map<std::string, double> metrics_of(const Task& task, std::span<const double> predicted,
                                         std::span<const double> actual) {
  std::map<std::string, double> values;
  double sum = 0.0;
  for (const Metric metric : task.metrics) {
    double value = 0.0;
    switch (metric) {
      case Metric::accuracy:
        value = accuracy(predicted, actual);
        break;
      case Metric::f1:
        value = f1(predicted, actual);
        break;
      case Metric::matthews_correlation:
        value = matthews_correlation(predicted, actual);
        break;
      case Metric::pearson:
        value = pearson(predicted, actual);
        break;
      case Metric::spearmanr:
        value = spearmanr(predicted, actual);
        break;
    }
    values[metric_name(metric)] = value;
    sum += value;
  }
  if (task.metrics.size() > 1) {
    values["combined_score"] = sum / static_cast<double>(task.metrics.size());
  }
  return values;
}

}  // namespace switchyard::glue
