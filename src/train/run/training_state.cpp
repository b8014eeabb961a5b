#include "train/run/training_state.h"

#include "switchyard/core/error.h"
#include "switchyard/format/json.h"

namespace switchyard::train {
namespace {

std::int64_t count_at(const format::Json& json, const char* key) {
  constexpr std::int64_t kMost = std::int64_t{1} << 53;  // sums of a few stay in range
  const format::Json& entry = json.at(key);
  const auto value = entry.is_number_integer() ? entry.get<std::int64_t>() : -1;
  if (value < 0 || value > kMost) {
    throw DataError(
        fmt::format("'{}' is {}, expected an integer of 0 or more", key, format::json_text(entry)));
  }
  return value;
}

}  // namespace

std::string to_json(const TrainingState& state) {
  format::Json json;
  json["step"] = state.trainer.step;
  json["next_window"] = state.trainer.next_window;
  json["num_updates"] = state.trainer.num_updates;
  json["skipped_in_a_row"] = state.trainer.num_skipped_in_a_row;
  json["tokens"] = state.totals.tokens;
  json["skipped_steps"] = state.totals.skipped;
  if (state.totals.expert_rows) json["expert_rows"] = *state.totals.expert_rows;
  // The shortest text that reads back to the same bits.
  json["best"] = {{"step", state.best.step}, {"loss", state.best.loss}};
  json["evaluations_without_improvement"] = state.best.num_without_improvement;
  json["evaluated_step"] = state.evaluated_step;
  json["sampled_step"] = state.sampled_step;
  json["data_fingerprint"] = state.data_fingerprint;
  return format::json_text(json, 2) + "\n";
}

TrainingState parse_training_state(const std::string& text, const std::string& source) {
  const format::Json json = format::parse_json(text, source);
  TrainingState state;
  try {
    state.trainer = {.step = count_at(json, "step"),
                     .next_window = count_at(json, "next_window"),
                     .num_updates = count_at(json, "num_updates"),
                     .num_skipped_in_a_row = count_at(json, "skipped_in_a_row")};
    state.totals = {.tokens = count_at(json, "tokens"),
                    .skipped = count_at(json, "skipped_steps"),
                    .expert_rows = {}};
    if (json.contains("expert_rows")) state.totals.expert_rows = count_at(json, "expert_rows");
    const format::Json& best = json.at("best");
    state.best = {.loss = best.at("loss").get<double>(),
                  .step = best.at("step").get<std::int64_t>(),
                  .num_without_improvement = count_at(json, "evaluations_without_improvement")};
    state.evaluated_step = count_at(json, "evaluated_step");
    state.sampled_step = count_at(json, "sampled_step");
    state.data_fingerprint = json.at("data_fingerprint").get<std::string>();
  } catch (const std::exception& error) {
    throw DataError(fmt::format("{}: {}", source, error.what()),
                    "the checkpoint was written by another version of switchyard");
  }
  return state;
}

}  // namespace switchyard::train
