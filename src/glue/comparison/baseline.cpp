#include "glue/comparison/baseline.h"

#include <fmt/format.h>

#include <utility>

#include "switchyard/core/error.h"
#include "switchyard/core/text.h"

namespace switchyard::glue {

Baseline baseline_of(const std::vector<TaskResult>& results) {
  Baseline baseline;
  for (const TaskResult& result : results) baseline[result.task.name] = figures_of(result);
  return baseline;
}

Baseline read_baseline(const std::filesystem::path& output, std::span<const PreparedTask> tasks) {
  Baseline baseline;
  for (TaskFigures& figures : read_figures(output)) {
    const std::string name = figures.task;
    baseline[name] = std::move(figures);
  }
  for (const PreparedTask& prepared : tasks) {
    const auto found = baseline.find(prepared.task.name);
    if (found == baseline.end()) {
      throw UsageError(
          fmt::format("--baseline: {} has no results of {}", output.string(), prepared.task.name),
          "fine-tune the baseline for the same tasks first, or give the pretrained run");
    }
    if (are_judged_alike(found->second, {.conditions = prepared.conditions})) continue;
    throw UsageError(
        fmt::format("--baseline: the {} of {} was judged on other dev rows than {} has",
                    prepared.task.name, output.string(), prepared.dev_rows.front().file.string()),
        "figures on other rows do not compare: give --data what the baseline had, or the "
        "pretrained run of the baseline, which is then fine-tuned on these");
  }
  return baseline;
}

std::vector<std::string> notes_on_baseline(const TaskResult& result) {
  if (!result.baseline) return {};
  const TaskFigures& baseline = *result.baseline;
  const std::string& task = result.task.folder;
  std::vector<std::string> notes;
  std::vector<std::string> diverged;
  for (const SeedFigures& seed : baseline.seeds) {
    if (seed.diverged) diverged.push_back(fmt::format("{}", seed.seed));
  }
  if (baseline.seeds.empty()) {
    notes.push_back(fmt::format(
        "{}, baseline: it found no learning rate to train with; there is nothing to compare with",
        task));
  } else if (diverged.size() == baseline.seeds.size()) {
    notes.push_back(fmt::format(
        "{}, baseline: all of its seeds diverged; there is nothing to compare with", task));
  } else if (!diverged.empty()) {
    notes.push_back(fmt::format("{}, baseline: {} {} diverged and {} in no figure", task,
                                plural(std::ssize(diverged), "seed"), join(diverged, ", "),
                                diverged.size() == 1 ? "is" : "are"));
  }
  for (const Difference& difference : differences(figures_of(result), baseline)) {
    notes.push_back(fmt::format("{}, baseline: {}: {}, here {}", task, difference.what,
                                difference.right, difference.left));
  }
  return notes;
}

}  // namespace switchyard::glue
