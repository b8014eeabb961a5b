#include "telemetry/report/summary.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>
#include <optional>

#include "switchyard/core/terminal.h"
#include "switchyard/core/text.h"
#include "telemetry/report/figures.h"
#include "telemetry/report/html.h"

namespace switchyard::telemetry {
namespace {

using Tone = Sentence::Tone;

std::vector<const StepRecord*> with_finite_loss(const Metrics& metrics) {
  std::vector<const StepRecord*> records;
  for (const StepRecord& record : metrics.steps) {
    if (std::isfinite(record.lm_loss)) records.push_back(&record);
  }
  return records;
}

// The mean over the last twentieth of the records: single windows are noisy.
double recent_loss(const std::vector<const StepRecord*>& records) {
  const std::size_t num = std::max<std::size_t>(1, records.size() / 20);
  double sum = 0.0;
  for (std::size_t i = records.size() - num; i < records.size(); ++i) sum += records[i]->lm_loss;
  return sum / static_cast<double>(num);
}

Sentence about_training(const Metrics& metrics) {
  const auto records = with_finite_loss(metrics);
  const StepRecord& last = metrics.steps.back();
  if (records.empty()) {
    return {"No step had a finite loss: nothing was learnt.", Tone::kBad};
  }
  const std::string where = fmt::format("in {} ({} tokens)", counted(last.step, "step"),
                                        format_count(static_cast<double>(last.tokens)));
  if (records.size() == 1) {
    return {fmt::format("Training loss is {} at step {}.", html::number(records[0]->lm_loss),
                        records[0]->step)};
  }
  const double first = records.front()->lm_loss;
  const double now = recent_loss(records);
  const std::string values =
      fmt::format("from {} to {} {}.", html::number(first), html::number(now), where);
  if (now < first * 0.99) return {"Training loss fell " + values, Tone::kGood};
  if (now > first * 1.01) return {"Training loss rose " + values, Tone::kBad};
  return {"Training loss hardly moved: " + values, Tone::kBad};
}

// By split, in the order of their first evaluation.
void add_evaluations(const Metrics& metrics, std::vector<Sentence>& sentences) {
  std::map<std::string, std::vector<const EvaluationRecord*>> by_split;
  for (const EvaluationRecord& record : metrics.evaluations) {
    if (std::isfinite(record.loss)) by_split[record.split].push_back(&record);
  }
  for (const auto& [split, records] : by_split) {
    const auto best =
        std::min_element(records.begin(), records.end(),
                         [](const auto* a, const auto* b) { return a->loss < b->loss; });
    std::string bits;
    if ((*best)->bits_per_byte.has_value()) {
      bits = fmt::format(" ({} bits per byte)", html::number(*(*best)->bits_per_byte));
    } else if (is_lossy(**best)) {
      bits = " (no bits per byte: the tokenizer loses parts of the text)";
    }
    const auto num_since = std::distance(best, records.end()) - 1;
    Sentence sentence{fmt::format("Best {} loss is {}{} at step {}", split,
                                  html::number((*best)->loss), bits, (*best)->step)};
    if (num_since > 0) {
      sentence.text += fmt::format("; {} since did not beat it", counted(num_since, "evaluation"));
    }
    sentence.text += ".";
    if (num_since >= 3) sentence.tone = Tone::kBad;
    sentences.push_back(std::move(sentence));
  }
}

void add_calibration(const Metrics& metrics, std::vector<Sentence>& sentences) {
  if (!metrics.calibration.has_value()) return;
  const EvaluationRecord& record = *metrics.calibration;
  std::string text =
      fmt::format("Calibrated at step {}, at temperature {:.3f}, its validation loss is {}",
                  record.step, record.temperature.value_or(1.0), html::number(record.loss));
  if (record.bits_per_byte.has_value()) {
    text += fmt::format(" ({} bits per byte)", html::number(*record.bits_per_byte));
  }
  sentences.push_back({text + "."});
}

void add_routing(const StepRecord& last, std::vector<Sentence>& sentences) {
  if (!last.routing.has_value() || last.layers.empty()) return;
  const auto less_k = [](const LayerRecord& a, const LayerRecord& b) {
    return a.routing.experts_per_token < b.routing.experts_per_token;
  };
  const auto [fewest, most] = std::minmax_element(last.layers.begin(), last.layers.end(), less_k);
  std::string text =
      fmt::format("A token uses {:.2f} experts per layer", last.routing->experts_per_token);
  if (most->routing.experts_per_token - fewest->routing.experts_per_token > 0.005) {
    text += fmt::format("; layer {} uses the most ({:.2f}), layer {} the fewest ({:.2f})",
                        most->layer, most->routing.experts_per_token, fewest->layer,
                        fewest->routing.experts_per_token);
  }
  sentences.push_back({text + "."});

  const std::vector<std::string> dead = dead_experts(last);
  if (dead.empty()) {
    sentences.push_back({"No expert is dead.", Tone::kGood});
  } else {
    constexpr std::size_t kMaxNamed = 6;
    const std::size_t num_named = std::min(dead.size(), kMaxNamed);
    sentences.push_back(
        {fmt::format("{} of {} experts got no token in the newest window: {}{}.", dead.size(),
                     num_experts(last), join(std::span(dead).first(num_named), ", "),
                     dead.size() > num_named ? ", ..." : ""),
         Tone::kBad});
  }
  const auto worst = std::max_element(last.layers.begin(), last.layers.end(),
                                      [](const LayerRecord& a, const LayerRecord& b) {
                                        return a.routing.max_violation < b.routing.max_violation;
                                      });
  sentences.push_back(
      {fmt::format("Load is least even in layer {}: its fullest expert gets {:.2f} "
                   "times the mean.",
                   worst->layer, worst->routing.max_violation + 1.0)});
}

// Of the newest evaluation that says so.
void add_difficulty(const Metrics& metrics, std::vector<Sentence>& sentences) {
  const auto newest = std::find_if(
      metrics.evaluations.rbegin(), metrics.evaluations.rend(), [](const EvaluationRecord& record) {
        return record.difficulty.has_value() && record.difficulty->all.with_loss.spearman;
      });
  if (newest == metrics.evaluations.rend()) return;
  const DifficultyRecord& record = *newest->difficulty;
  const double all = *record.all.with_loss.spearman;
  // Three standard errors of a correlation of nothing, and never what nobody would notice.
  const double hardly_any =
      std::max(0.05, 3.0 / std::sqrt(std::max<double>(1.0, static_cast<double>(newest->tokens))));
  const char* answer = "Harder tokens get about as many experts as easy ones";
  if (all >= hardly_any) answer = "Harder tokens get more experts";
  if (all <= -hardly_any) answer = "Harder tokens get fewer experts";
  std::string text = fmt::format("{}: rank correlation of experts and loss {:+.2f}", answer, all);
  std::optional<std::size_t> most;
  std::optional<std::size_t> least;
  const auto of = [&](std::size_t i) {
    return record.by_layer[i].with_loss.spearman.value_or(kNan);
  };
  for (std::size_t i = 0; i < std::min(record.layers.size(), record.by_layer.size()); ++i) {
    if (!std::isfinite(of(i))) continue;
    if (!most || of(i) > of(*most)) most = i;
    if (!least || of(i) < of(*least)) least = i;
  }
  if (most && *most != *least) {
    text += fmt::format(", from {:+.2f} in layer {} to {:+.2f} in layer {}", of(*most),
                        record.layers[*most], of(*least), record.layers[*least]);
  }
  sentences.push_back({text + "."});
}

double mean_tokens_per_second(const Metrics& metrics) {
  const double seconds = training_seconds(metrics);
  return seconds > 0.0 ? static_cast<double>(metrics.steps.back().tokens) / seconds : 0.0;
}

}  // namespace

std::vector<std::string> dead_experts(const StepRecord& record) {
  std::vector<std::string> names;
  for (const LayerRecord& layer : record.layers) {
    for (std::size_t expert = 0; expert < layer.load.size(); ++expert) {
      if (layer.load[expert] <= 0.0) {
        names.push_back(fmt::format("layer {} expert {}", layer.layer, expert));
      }
    }
  }
  return names;
}

std::int64_t num_experts(const StepRecord& record) {
  std::size_t num = 0;
  for (const LayerRecord& layer : record.layers) num += layer.load.size();
  return static_cast<std::int64_t>(num);
}

double training_seconds(const Metrics& metrics) {
  double seconds = 0.0;
  std::int64_t before = 0;
  for (const StepRecord& record : metrics.steps) {
    if (std::isfinite(record.step_ms)) {
      seconds += record.step_ms * 1e-3 * static_cast<double>(record.step - before);
    }
    before = record.step;
  }
  return seconds;
}

std::vector<Sentence> summarize(const Metrics& metrics) {
  if (metrics.steps.empty()) return {{"No step was recorded yet."}};
  std::vector<Sentence> sentences{about_training(metrics)};
  add_evaluations(metrics, sentences);
  add_calibration(metrics, sentences);
  const StepRecord& last = metrics.steps.back();
  add_routing(last, sentences);
  add_difficulty(metrics, sentences);
  if (last.skipped_steps > 0) {
    sentences.push_back(
        {fmt::format("{} {} skipped because the loss or a gradient was not finite.",
                     counted(last.skipped_steps, "step"), last.skipped_steps == 1 ? "was" : "were"),
         Tone::kBad});
  }
  if (const double speed = mean_tokens_per_second(metrics); speed > 0.0) {
    const std::string mfu =
        last.mfu.has_value() ? fmt::format(", lately at {} of the peak", html::percent(*last.mfu))
                             : std::string();
    sentences.push_back(
        {fmt::format("Training took {} ({} tokens per second{}).",
                     format_duration(training_seconds(metrics)), format_count(speed), mfu)});
  }
  if (!metrics.resumes.empty()) {
    std::vector<std::string> steps;
    for (const std::int64_t step : metrics.resumes) steps.push_back(std::to_string(step));
    sentences.push_back({fmt::format("The run was resumed {}: after step {}.",
                                     counted(std::ssize(steps), "time"), join(steps, ", "))});
  }
  return sentences;
}

std::vector<Figure> key_figures(const Metrics& metrics) {
  std::vector<Figure> figures;
  if (metrics.steps.empty()) return figures;
  const StepRecord& last = metrics.steps.back();
  const auto records = with_finite_loss(metrics);
  figures.push_back({"Training loss",
                     records.empty() ? "not finite" : html::number(recent_loss(records)),
                     "nats per token, lately"});
  if (!metrics.evaluations.empty()) {
    const EvaluationRecord& evaluation = metrics.evaluations.back();
    const std::string where = fmt::format("{}, step {}", evaluation.split, evaluation.step);
    if (evaluation.bits_per_byte.has_value()) {
      figures.push_back({"Bits per byte", html::number(*evaluation.bits_per_byte), where});
    } else {
      figures.push_back({"Evaluation loss", html::number(evaluation.loss), where});
    }
  }
  if (last.routing.has_value()) {
    const RoutingRecord& routing = *last.routing;
    figures.push_back({"Experts per token", fmt::format("{:.2f}", routing.experts_per_token),
                       fmt::format("90% of tokens: {} to {}", routing.experts_per_token_p5,
                                   routing.experts_per_token_p95)});
    figures.push_back({"Dead experts", std::to_string(routing.dead_experts),
                       fmt::format("of {}, all layers", num_experts(last))});
  }
  if (std::isfinite(last.tokens_per_second)) {
    figures.push_back({"Tokens per second", html::number(last.tokens_per_second),
                       last.mfu.has_value() ? fmt::format("{} of peak", html::percent(*last.mfu))
                                            : "peak not known"});
  }
  figures.push_back({"Memory", format_bytes(last.memory_bytes), "resident"});
  return figures;
}

}  // namespace switchyard::telemetry
