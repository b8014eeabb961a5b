#include "switchyard/telemetry/read_metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <type_traits>
#include <utility>

#include "switchyard/core/error.h"
#include "switchyard/core/file.h"
#include "switchyard/format/json.h"

namespace switchyard::telemetry {
namespace {

using format::Json;

constexpr std::size_t kMaxNotes = 5;
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// One JSON object, its values typed; errors name the line and the key.
class Object {
 public:
  Object(const Json& json, std::string where) : json_(json), where_(std::move(where)) {
    if (!json.is_object()) throw DataError(where_ + ": expected a JSON object");
  }

  [[nodiscard]] bool has(const char* key) const {
    const auto found = json_.find(key);
    return found != json_.end() && !found->is_null();
  }
  [[nodiscard]] double number(const char* key) const {
    return has(key) ? format::json_number(json_, key, where_) : kNan;
  }
  [[nodiscard]] std::optional<double> optional_number(const char* key) const {
    return has(key) ? std::optional(number(key)) : std::nullopt;
  }
  [[nodiscard]] std::int64_t integer(const char* key) const {
    return has(key) ? format::json_integer(json_, key, where_) : 0;
  }
  [[nodiscard]] std::int64_t required_integer(const char* key) const {
    return format::json_integer(json_, key, where_);
  }
  [[nodiscard]] std::optional<bool> optional_bool(const char* key) const {
    return has(key) ? std::optional(format::json_bool(json_, key, where_)) : std::nullopt;
  }
  [[nodiscard]] std::string text(const char* key) const {
    return has(key) ? format::json_string(json_, key, where_) : std::string();
  }
  [[nodiscard]] std::optional<Object> optional_object(const char* key) const {
    return has(key) ? std::optional(Object(json_.at(key), where_)) : std::nullopt;
  }
  [[nodiscard]] std::vector<Object> objects(const char* key) const {
    std::vector<Object> result;
    for (const Json& item : items(key)) result.emplace_back(item, where_);
    return result;
  }
  template <typename T>
  [[nodiscard]] std::vector<T> numbers(const char* key) const {
    std::vector<T> result;
    for (const Json& item : items(key)) {
      if (!(std::is_integral_v<T> ? item.is_number_integer() : item.is_number())) {
        throw DataError(fmt::format("{}: '{}' is no list of numbers", where_, key));
      }
      result.push_back(item.get<T>());
    }
    return result;
  }
  // The numbers of an object whose keys are free.
  [[nodiscard]] std::map<std::string, double> named_numbers(const char* key) const {
    std::map<std::string, double> result;
    if (!has(key)) return result;
    for (const auto& [name, value] : format::json_object(json_, key, where_).items()) {
      if (value.is_number()) result[name] = value.get<double>();
    }
    return result;
  }

 private:
  [[nodiscard]] const Json& items(const char* key) const {
    static const Json kNone = Json::array();
    return has(key) ? format::json_array(json_, key, where_) : kNone;
  }

  const Json& json_;
  std::string where_;
};

LossTerms loss_terms(const Object& object, const std::string& suffix) {
  return {.load_balance = object.number(("load_balance_loss" + suffix).c_str()),
          .dynamic = object.number(("dynamic_loss" + suffix).c_str()),
          .z = object.number(("z_loss" + suffix).c_str()),
          .l1 = object.number(("l1_loss" + suffix).c_str())};
}

std::optional<RoutingRecord> routing(const Object& object) {
  if (!object.has("experts_per_token")) return std::nullopt;
  return RoutingRecord{.experts_per_token = object.number("experts_per_token"),
                       .experts_per_token_p5 = object.integer("experts_per_token_p5"),
                       .experts_per_token_p95 = object.integer("experts_per_token_p95"),
                       .router_entropy = object.number("router_entropy"),
                       .max_violation = object.number("max_violation"),
                       .dead_experts = object.integer("dead_experts"),
                       .dead_fraction = object.number("dead_fraction"),
                       .single_expert_share = object.number("single_expert_share"),
                       .router_grad_norm = object.number("router_grad_norm"),
                       .gauges = object.named_numbers("router")};
}

StepRecord step_record(const Object& object) {
  StepRecord record;
  record.step = object.required_integer("step");
  record.tokens = object.integer("tokens");
  record.loss = object.number("loss");
  record.lm_loss = object.number("lm_loss");
  record.losses = loss_terms(object, "");
  record.weighted = loss_terms(object, "_weighted");
  record.learning_rate = object.number("learning_rate");
  record.grad_norm = object.number("grad_norm");
  record.tokens_per_second = object.number("tokens_per_second");
  record.step_ms = object.number("step_ms");
  record.mfu = object.optional_number("mfu");
  record.memory_bytes =
      static_cast<std::uint64_t>(std::max<std::int64_t>(0, object.integer("memory_bytes")));
  record.routing = routing(object);
  record.skipped_steps = object.integer("skipped_steps");
  for (const Object& entry : object.objects("layers")) {
    record.layers.push_back({.layer = entry.required_integer("layer"),
                             .routing = routing(entry).value_or(RoutingRecord{}),
                             .losses = loss_terms(entry, ""),
                             .load = entry.numbers<double>("load"),
                             .k_histogram = entry.numbers<std::int64_t>("k_histogram")});
  }
  record.phase_ms = object.named_numbers("phase_ms");
  for (const Object& entry : object.objects("ranks")) {
    record.ranks.push_back({.rank = entry.required_integer("rank"),
                            .wait_ms = entry.number("wait_ms"),
                            .exchanged_mb = entry.number("exchanged_mb")});
  }
  return record;
}

LossCorrelation loss_correlation(const Object& object, const char* key) {
  const auto found = object.optional_object(key);
  if (!found) return {};
  return {.pearson = found->optional_number("pearson"),
          .spearman = found->optional_number("spearman")};
}

ExpertsByDifficulty experts_by_difficulty(const Object& object) {
  const auto found = object.optional_object("correlation");
  if (!found) return {};
  return {.with_loss = loss_correlation(*found, "with_loss"),
          .with_input_loss = loss_correlation(*found, "with_input_loss")};
}

std::vector<TokenGroup> token_groups(const Object& object, const char* key) {
  std::vector<TokenGroup> groups;
  for (const Object& entry : object.objects(key)) {
    groups.push_back({.from = entry.number("from"),
                      .to = entry.number("to"),
                      .tokens = entry.integer("tokens"),
                      .loss = entry.number("loss"),
                      .experts_per_token = entry.numbers<double>("experts_per_token"),
                      .pearson = entry.optional_number("pearson")});
  }
  return groups;
}

DifficultyRecord difficulty_record(const Object& object) {
  DifficultyRecord record{.all = experts_by_difficulty(object)};
  for (const Object& entry : object.objects("layers")) {
    record.layers.push_back(entry.required_integer("layer"));
    record.by_layer.push_back(experts_by_difficulty(entry));
  }
  record.by_loss = token_groups(object, "by_loss");
  record.by_word_position = token_groups(object, "by_word_position");
  record.by_frequency = token_groups(object, "by_frequency");
  return record;
}

EvaluationRecord evaluation_record(const Object& object) {
  EvaluationRecord record;
  record.step = object.required_integer("step");
  if (object.has("split")) record.split = object.text("split");
  record.loss = object.number("loss");
  record.perplexity = object.optional_number("perplexity");
  record.lossless = object.optional_bool("lossless");
  if (!is_lossy(record)) record.bits_per_byte = object.optional_number("bits_per_byte");
  record.experts_per_token = object.optional_number("experts_per_token");
  record.metrics = object.named_numbers("metrics");
  record.temperature = object.optional_number("temperature");
  record.tokens = object.integer("tokens");
  record.seconds = object.number("seconds");
  if (const auto difficulty = object.optional_object("difficulty")) {
    record.difficulty = difficulty_record(*difficulty);
  }
  return record;
}

// Records are in the order of their steps, so those of later steps are at the end.
template <typename Record>
void drop_after(std::vector<Record>& records, std::int64_t step) {
  while (!records.empty() && records.back().step > step) records.pop_back();
}

void read_line(Metrics& metrics, std::string_view line, const std::string& where) {
  const Json json = format::parse_json(line, where);
  const Object object(json, where);
  const std::string event = object.text("event");
  if (event.empty()) {
    StepRecord record = step_record(object);
    // Steps only go forward; a file that says otherwise lost the line about a resume.
    drop_after(metrics.steps, record.step);
    if (!metrics.steps.empty() && metrics.steps.back().step == record.step) {
      metrics.steps.pop_back();
    }
    metrics.steps.push_back(std::move(record));
  } else if (event == "evaluation") {
    EvaluationRecord record = evaluation_record(object);
    drop_after(metrics.evaluations, record.step);
    metrics.evaluations.push_back(std::move(record));
  } else if (event == "calibration") {
    metrics.calibration = evaluation_record(object);
  } else if (event == "resume") {
    const std::int64_t step = object.required_integer("step");
    if (metrics.calibration && metrics.calibration->step > step) metrics.calibration.reset();
    drop_after(metrics.steps, step);
    drop_after(metrics.evaluations, step);
    metrics.resumes.push_back(step);
  }  // events of later versions are not ours to judge
}

}  // namespace

Metrics parse_metrics(std::string_view text, const std::string& name) {
  // A line counts once its end is there: the run may be in the middle of writing the last one.
  text = text.substr(0, text.rfind('\n') + 1);
  Metrics metrics;
  std::size_t num_damaged = 0;
  std::size_t number = 0;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end + 1);
    ++number;
    try {
      read_line(metrics, line, fmt::format("{}:{}", name, number));
    } catch (const DataError& error) {
      if (++num_damaged <= kMaxNotes) metrics.notes.emplace_back(error.what());
    }
  }
  if (num_damaged > kMaxNotes) {
    metrics.notes.push_back(
        fmt::format("{}: {} more damaged lines", name, num_damaged - kMaxNotes));
  }
  return metrics;
}

Metrics read_metrics(const std::filesystem::path& path) {
  return parse_metrics(read_file(path), path.filename().string());
}

}  // namespace switchyard::telemetry
