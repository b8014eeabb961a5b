// GLUE's metrics, as scikit-learn and SciPy compute them.
#pragma once

#include <map>
#include <span>
#include <string>

#include "switchyard/glue/tasks.h"

namespace switchyard::glue {

// All of predictions and true labels of the same number >= 1; classes are whole numbers.
[[nodiscard]] double accuracy(std::span<const double> predicted, std::span<const double> actual);
// Of class 1: 2 tp / (2 tp + fp + fn); 0 without any (sklearn.metrics.f1_score).
[[nodiscard]] double f1(std::span<const double> predicted, std::span<const double> actual);
// Matthews' correlation for any number of classes (Gorodkin, 2004); 0 when the predictions or the
// labels are all of one class (sklearn.metrics.matthews_corrcoef).
[[nodiscard]] double matthews_correlation(std::span<const double> predicted,
                                          std::span<const double> actual);
// NaN when either side is constant (scipy.stats.pearsonr); within [-1, 1].
[[nodiscard]] double pearson(std::span<const double> predicted, std::span<const double> actual);
// Pearson's of the ranks; ties share the mean of their ranks (scipy.stats.spearmanr).
[[nodiscard]] double spearmanr(std::span<const double> predicted, std::span<const double> actual);

// The task's metrics by name and, where it has two, "combined_score", their mean.
[[nodiscard]] std::map<std::string, double> metrics_of(const Task& task,
                                                       std::span<const double> predicted,
                                                       std::span<const double> actual);

}  // namespace switchyard::glue
