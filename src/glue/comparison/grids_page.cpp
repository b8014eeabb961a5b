// A comparison of two grids for people and for programs.
#include <fmt/format.h>

#include <cmath>

#include "switchyard/core/markdown.h"
#include "switchyard/core/text.h"
#include "switchyard/format/json.h"
#include "switchyard/glue/compare_grids.h"

namespace switchyard::glue {
namespace {

using format::Json;

std::string line_of(const std::vector<std::string>& cells) {
  return "| " + join(cells, " | ") + " |\n";
}

std::string table(const std::vector<std::string>& head,
                  const std::vector<std::vector<std::string>>& rows) {
  std::string text = line_of(head) + "|";
  for (std::size_t i = 0; i < head.size(); ++i) text += i == 0 ? "---|" : "---:|";
  text += "\n";
  for (const auto& row : rows) text += line_of(row);
  return text;
}

std::string name_of(const std::string& task) {
  return task.empty() ? "**all tasks**" : markdown_cell(task);
}

std::vector<std::string> cells_of(const PairedFigure& figure) {
  return {name_of(figure.task),
          markdown_cell(figure.key),
          fmt::format("{}", figure.seeds.size()),
          fmt::format("{:.4f}", figure.left),
          fmt::format("{:.4f}", figure.right),
          fmt::format("{:+.4f}", figure.mean),
          fmt::format("{:+.4f}", figure.median),
          figure.interval
              ? fmt::format("{:+.4f} to {:+.4f}", figure.interval->low, figure.interval->high)
              : std::string("-"),
          fmt::format("{:.4g}", figure.test.p),
          fmt::format("{:.4g}", figure.test.least_p)};
}

std::string figures_section(const GridComparison& comparison) {
  std::vector<std::vector<std::string>> rows;
  for (const PairedFigure& figure : comparison.figures) rows.push_back(cells_of(figure));
  if (comparison.together) rows.push_back(cells_of(*comparison.together));
  const std::string interval = fmt::format("{:g} % interval of the mean", 100.0 * kConfidence);
  std::string text = "## Differences by seed\n\n" +
                     table({"task", "metric", "seeds", markdown_cell(comparison.left),
                            markdown_cell(comparison.right), "mean difference", "median difference",
                            interval, "p", "least possible p"},
                           rows);
  text += fmt::format(
      "\nA difference is {} minus {}, of one seed; the two columns before it are medians over the "
      "seeds that both sides have. The interval is a percentile bootstrap: {} resamples of the "
      "seeds, drawn from seed {}; of few seeds it is narrower than it should be. p is of "
      "Wilcoxon's "
      "signed-rank test, two-sided and exact; of n seeds that differ it is never below 2/2^n, "
      "whatever the differences are.",
      markdown_cell(comparison.right), markdown_cell(comparison.left), kNumResamples,
      kResamplingSeed);
  if (rows.size() > 1) {
    text += fmt::format(" These are {} tests: one in twenty is below 0.05 by chance alone.",
                        rows.size());
  }
  if (comparison.together) {
    text +=
        " All tasks: by seed the mean over tasks, each with its metric, the combined score of two, "
        "and the mean over its dev files.";
  }
  return text + "\n";
}

std::string tokens_text(const std::optional<TrainingCost>& cost) {
  return cost ? fmt::format("{}", cost->tokens) : "-";
}

std::string flops_text(const std::optional<TrainingCost>& cost) {
  return cost ? fmt::format("{:.4g}", cost->flops) : "-";
}

std::string cost_section(const GridComparison& comparison) {
  const std::string left = markdown_cell(comparison.left);
  const std::string right = markdown_cell(comparison.right);
  std::vector<std::vector<std::string>> rows;
  for (const PairedCost& cost : comparison.costs) {
    rows.push_back({name_of(cost.task), tokens_text(cost.left), tokens_text(cost.right),
                    flops_text(cost.left), flops_text(cost.right)});
  }
  return "## What training cost\n\n" +
         table({"task", "tokens, " + left, "tokens, " + right, "FLOPs, " + left, "FLOPs, " + right},
               rows) +
         "\nMeans over the seeds that are compared, of fine-tuning alone; FLOPs are the activated "
         "ones, forward and backward, at the experts that tokens got. A difference of more than "
         "1 % is among the notes.\n";
}

Json number(double value) {
  return std::isfinite(value) ? Json(value) : Json(nullptr);
}

Json figure_json(const PairedFigure& figure) {
  Json json;
  if (!figure.task.empty()) json["task"] = figure.task;
  json["metric"] = figure.key;
  json["seeds"] = figure.seeds;
  json["difference_by_seed"] = figure.difference;
  json["left_median"] = number(figure.left);
  json["right_median"] = number(figure.right);
  json["mean_difference"] = number(figure.mean);
  json["median_difference"] = number(figure.median);
  json["interval"] = figure.interval ? Json{figure.interval->low, figure.interval->high} : Json();
  json["wilcoxon"] = {{"pairs", figure.test.num_pairs},
                      {"positive_rank_sum", figure.test.positive_rank_sum},
                      {"p", figure.test.p},
                      {"least_p", figure.test.least_p}};
  return json;
}

Json cost_json(const std::optional<TrainingCost>& cost) {
  if (!cost) return nullptr;
  return {{"tokens", cost->tokens}, {"flops", cost->flops}};
}

}  // namespace

std::string grids_markdown(const GridComparison& comparison) {
  std::string text = fmt::format("# {} against {}\n\n", markdown_cell(comparison.right),
                                 markdown_cell(comparison.left)) +
                     figures_section(comparison) + "\n" + cost_section(comparison);
  if (comparison.notes.empty()) return text;
  text += "\n## Notes\n\n";
  for (const std::string& note : comparison.notes) {
    text += "- " + markdown_cell(note, std::string::npos) + "\n";
  }
  return text;
}

std::string grids_json(const GridComparison& comparison) {
  Json json;
  json["left"] = comparison.left;
  json["right"] = comparison.right;
  json["bootstrap"] = {
      {"confidence", kConfidence}, {"resamples", kNumResamples}, {"seed", kResamplingSeed}};
  json["figures"] = Json::array();
  for (const PairedFigure& figure : comparison.figures) {
    json["figures"].push_back(figure_json(figure));
  }
  json["all_tasks"] = comparison.together ? figure_json(*comparison.together) : Json();
  json["costs"] = Json::array();
  for (const PairedCost& cost : comparison.costs) {
    json["costs"].push_back({{"task", cost.task.empty() ? Json(nullptr) : Json(cost.task)},
                             {"left", cost_json(cost.left)},
                             {"right", cost_json(cost.right)}});
  }
  json["notes"] = comparison.notes;
  return format::json_text(json, 2) + "\n";
}

}  // namespace switchyard::glue
