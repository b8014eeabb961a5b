#include "switchyard/compare/markdown.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <string_view>
#include <utility>

#include "compare/curves.h"
#include "switchyard/config/values.h"
#include "switchyard/core/markdown.h"
#include "switchyard/core/terminal.h"
#include "switchyard/core/text.h"

namespace switchyard::compare {
namespace {

constexpr const char* kNone = "-";
constexpr const char* kLossy = "lossy";  // instead of bits per byte

class Table {
 public:
  explicit Table(const std::vector<std::string>& columns) {
    add(columns);
    text_ += "|";
    for (std::size_t i = 0; i < columns.size(); ++i) text_ += i == 0 ? "---|" : "---:|";
    text_ += "\n";
  }
  void add(const std::vector<std::string>& cells) {
    text_ += "|";
    for (const std::string& item : cells) text_ += " " + item + " |";
    text_ += "\n";
  }
  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  std::string text_;
};

std::string value_text(double value) {
  return std::isfinite(value) ? fmt::format("{:.4f}", value) : kNone;
}

std::string k_text(double k) {
  return std::isfinite(k) && k > 0 ? fmt::format("{:.2f}", k) : kNone;
}

std::string flops_text(double flops) {
  return fmt::format("{:.3g}", flops);
}

double median(std::vector<double> values) {
  std::erase_if(values, [](double value) { return !std::isfinite(value); });
  if (values.empty()) return std::numeric_limits<double>::quiet_NaN();
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

// Of all windows but the first, in which buffers and threads are set up.
double typical_speed(const telemetry::Metrics& metrics) {
  std::vector<double> speeds;
  for (const telemetry::StepRecord& record : metrics.steps) {
    speeds.push_back(record.tokens_per_second);
  }
  if (speeds.size() > 1) speeds.erase(speeds.begin());
  return median(std::move(speeds));
}

std::vector<std::string> header(std::string first, std::span<const ComparedRun> runs) {
  std::vector<std::string> columns{std::move(first)};
  for (const ComparedRun& run : runs) columns.push_back(markdown_cell(run.name));
  return columns;
}

// Only the keys that differ; of those, what each run has.
std::string config_section(std::span<const ComparedRun> runs) {
  std::vector<std::map<std::string, std::string>> fields;
  std::vector<std::string> order;
  std::set<std::string> known;
  for (const ComparedRun& run : runs) {
    auto& of_run = fields.emplace_back();
    for (auto& [key, value] : config::fields_of(run.config)) {
      if (known.insert(key).second) order.push_back(key);
      of_run.emplace(std::move(key), std::move(value));
    }
  }
  Table table(header("key", runs));
  bool differs = false;
  for (const std::string& key : order) {
    if (key == "run.dir") continue;
    std::vector<std::string> row{"`" + key + "`"};
    std::set<std::string> values;
    for (const auto& of_run : fields) {
      const auto found = of_run.find(key);
      const std::string value = found == of_run.end() ? std::string() : found->second;
      values.insert(value);
      row.push_back(value.empty() ? kNone : markdown_cell(value));
    }
    if (values.size() < 2) continue;
    differs = true;
    table.add(row);
  }
  return "## What differs\n\n" +
         (differs ? table.text() : std::string("Nothing but the folders.\n"));
}

std::string result_section(std::span<const ComparedRun> runs, std::span<const Progress> progress) {
  Table table({"run", "router", "steps", "tokens", "FLOPs", "training loss", "validation loss",
               "best (step)", "bits per byte", "best", "k at the end", "tokens/s"});
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const telemetry::Metrics& metrics = runs[i].metrics;
    const telemetry::StepRecord& last = metrics.steps.back();
    const Progress& curve = progress[i];
    std::string loss = kNone;
    std::string best_loss = kNone;
    std::string bits = kNone;
    std::string best_bits = kNone;
    if (!metrics.evaluations.empty()) {
      loss = value_text(metrics.evaluations.back().loss);
      const telemetry::EvaluationRecord* best = nullptr;
      double fewest = std::numeric_limits<double>::infinity();
      for (const telemetry::EvaluationRecord& record : metrics.evaluations) {
        const bool is_number = std::isfinite(record.loss);
        if (is_number && (best == nullptr || record.loss < best->loss)) best = &record;
        fewest = std::min(fewest, record.bits_per_byte.value_or(fewest));
      }
      if (best != nullptr) {
        best_loss = fmt::format("{} ({})", value_text(best->loss), best->step);
      }
      bits = value_text(metrics.evaluations.back().bits_per_byte.value_or(
          std::numeric_limits<double>::quiet_NaN()));
      best_bits = value_text(fewest);
      if (has_lossy_tokenizer(runs[i])) bits = best_bits = kLossy;
    }
    const bool dense = !last.routing.has_value();
    table.add({markdown_cell(runs[i].name),
               dense ? "dense" : markdown_cell(runs[i].config.model.moe.router.type),
               fmt::format("{}", last.step), format_count(static_cast<double>(last.tokens)),
               flops_text(curve.flops.back()), value_text(last.lm_loss), loss, best_loss, bits,
               best_bits, k_text(curve.experts_per_token.back()),
               format_count(typical_speed(metrics))});
  }
  std::string notes =
      "FLOPs are the activated ones of training, at the experts per token of each logged "
      "window; training loss is that of the last window; tokens/s is the median over windows.";
  if (std::any_of(runs.begin(), runs.end(), &has_lossy_tokenizer)) {
    notes += fmt::format(
        " {}: the tokenizer does not give the text back, and what it loses costs no bits.", kLossy);
  }
  return "## Results\n\n" + table.text() + "\n" + notes + "\n";
}

// One row for a quarter, half and all of the largest budget that every run has reached.
std::string budget_section(const std::string& title, std::span<const ComparedRun> runs,
                           std::span<const Progress> progress, const Figure& figure, bool flops) {
  double shared = std::numeric_limits<double>::infinity();
  for (const Progress& curve : progress) {
    const Curve values = curve_of(curve, figure.kind);
    const auto budget = flops ? values.flops : values.tokens;
    shared = std::min(shared, budget.empty() ? 0.0 : budget.back());
  }
  std::string text = fmt::format("## {}\n\n", title);
  if (!(shared > 0.0)) return text + "No budget that every run has reached.\n";
  Table table(header(flops ? "FLOPs" : "tokens", runs));
  for (const double share : {0.25, 0.5, 1.0}) {
    const double budget = share * shared;
    std::vector<std::string> row{flops ? flops_text(budget) : format_count(budget)};
    double best = std::numeric_limits<double>::infinity();
    std::vector<double> values;
    for (const Progress& of_run : progress) {
      const Curve curve = curve_of(of_run, figure.kind);
      values.push_back(interpolated(flops ? curve.flops : curve.tokens, curve.value, budget));
      if (std::isfinite(values.back())) best = std::min(best, values.back());
    }
    for (std::size_t i = 0; i < runs.size(); ++i) {
      const auto& budgets = flops ? progress[i].flops : progress[i].tokens;
      const double k = interpolated(budgets, progress[i].experts_per_token, budget);
      std::string item = value_text(values[i]);
      if (figure.comparable && runs.size() > 1 && values[i] == best) item = "**" + item + "**";
      if (std::isfinite(k) && k > 0) item += fmt::format(" (k {})", k_text(k));
      row.push_back(std::move(item));
    }
    table.add(row);
  }
  return text +
         fmt::format("{}, {}; between two records on the straight line that joins them.\n\n{}",
                     figure.name,
                     figure.comparable ? "lowest in bold" : "in units that differ from run to run",
                     table.text());
}

}  // namespace

std::string comparison_markdown(std::span<const ComparedRun> runs) {
  std::vector<Progress> progress;
  for (const ComparedRun& run : runs) progress.push_back(progress_of(run));
  const Figure figure = figure_for(runs);
  std::string text = fmt::format("# Comparison of {} runs\n\n", runs.size());
  if (!figure.reason.empty()) text += figure.reason + "\n\n";
  if (const std::string note = note_on_data(runs); !note.empty()) text += note + "\n\n";
  text += config_section(runs) + "\n" + result_section(runs, progress) + "\n" +
          budget_section("At equal tokens", runs, progress, figure, false) + "\n" +
          budget_section("At equal activated FLOPs", runs, progress, figure, true);
  for (const ComparedRun& run : runs) {
    for (const std::string& note : run.metrics.notes) {
      text += fmt::format("\n{}: {}\n", markdown_cell(run.name), markdown_cell(note));
    }
  }
  return text;
}

}  // namespace switchyard::compare
