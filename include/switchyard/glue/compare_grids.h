// `switchyard compare` of two outputs of `finetune`: seed by seed, what the second is ahead by, how
// sure that is, and whether training cost them the same.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "switchyard/glue/figures.h"
#include "switchyard/glue/paired_tests.h"

namespace switchyard::glue {

struct ComparedGrid {
  std::string name;
  std::vector<TaskFigures> tasks;
};
// Throws as read_figures() does.
[[nodiscard]] ComparedGrid read_compared_grid(const std::filesystem::path& output);

// A metric of a task, or the mean over tasks, over the seeds that have it on both sides.
struct PairedFigure {
  std::string task;  // its name; empty: all tasks together
  std::string key;   // "accuracy_mm"
  std::vector<std::uint64_t> seeds;
  std::vector<double> difference;  // of each seed: right - left
  double left = 0.0;               // medians over these seeds
  double right = 0.0;
  double mean = 0.0;  // of the differences
  double median = 0.0;
  std::optional<Interval> interval;  // of the mean
  WilcoxonTest test;
};

// Means over the seeds that were compared; none where a version did not note the cost of one.
struct PairedCost {
  std::string task;  // empty: all tasks together
  std::optional<TrainingCost> left;
  std::optional<TrainingCost> right;
};

struct GridComparison {
  std::string left;
  std::string right;
  std::vector<PairedFigure> figures;  // by task and metric
  // By seed the mean over tasks, of each the mean over its dev files of the combined score, where
  // it has two metrics, or the metric. None of one task, or where no seed has all of them.
  std::optional<PairedFigure> together;
  std::vector<PairedCost> costs;  // of each task and, of several, of all together
  // What was not compared and why, and in what else the sides differ, a sentence each.
  std::vector<std::string> notes;
};

// Tasks that were judged on other dev rows are not compared. Throws UsageError when that leaves
// nothing.
[[nodiscard]] GridComparison compare_grids(const ComparedGrid& left, const ComparedGrid& right);

[[nodiscard]] std::string grids_markdown(const GridComparison& comparison);
[[nodiscard]] std::string grids_json(const GridComparison& comparison);

}  // namespace switchyard::glue
