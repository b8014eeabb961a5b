#include "switchyard/telemetry/record.h"

#include <cmath>

namespace switchyard::telemetry {
namespace {

using format::Json;

// JSON has no NaN and no infinity.
Json number(double value) {
  return std::isfinite(value) ? Json(value) : Json(nullptr);
}

Json number(const std::optional<double>& value) {
  return value.has_value() ? number(*value) : Json(nullptr);
}

void add_losses(Json& json, const LossTerms& losses, const std::string& suffix) {
  json["load_balance_loss" + suffix] = number(losses.load_balance);
  json["dynamic_loss" + suffix] = number(losses.dynamic);
  json["z_loss" + suffix] = number(losses.z);
  json["l1_loss" + suffix] = number(losses.l1);
}

void add_routing(Json& json, const std::optional<RoutingRecord>& routing) {
  const RoutingRecord values = routing.value_or(RoutingRecord{});
  const auto or_null = [&](Json value) { return routing.has_value() ? value : Json(nullptr); };
  json["experts_per_token"] = or_null(number(values.experts_per_token));
  json["experts_per_token_p5"] = or_null(values.experts_per_token_p5);
  json["experts_per_token_p95"] = or_null(values.experts_per_token_p95);
  json["router_entropy"] = or_null(number(values.router_entropy));
  json["max_violation"] = or_null(number(values.max_violation));
  json["dead_experts"] = or_null(values.dead_experts);
  json["dead_fraction"] = or_null(number(values.dead_fraction));
  json["single_expert_share"] = or_null(number(values.single_expert_share));
  json["router_grad_norm"] = or_null(number(values.router_grad_norm));
  for (const auto& [name, value] : values.gauges) json["router"][name] = number(value);
}

Json to_json(const ExpertsByDifficulty& experts) {
  const auto both = [](const LossCorrelation& correlation) {
    return Json{{"pearson", number(correlation.pearson)},
                {"spearman", number(correlation.spearman)}};
  };
  return {{"with_loss", both(experts.with_loss)},
          {"with_input_loss", both(experts.with_input_loss)}};
}

Json to_json(const std::vector<TokenGroup>& groups) {
  Json json = Json::array();
  for (const TokenGroup& group : groups) {
    Json entry{{"from", number(group.from)},
               {"to", number(group.to)},
               {"tokens", group.tokens},
               {"loss", number(group.loss)}};
    entry["experts_per_token"] = group.experts_per_token;
    entry["pearson"] = number(group.pearson);
    json.push_back(std::move(entry));
  }
  return json;
}

}  // namespace

Json to_json(const DifficultyRecord& record) {
  Json json;
  json["correlation"] = to_json(record.all);
  json["layers"] = Json::array();
  for (std::size_t i = 0; i < record.layers.size(); ++i) {
    json["layers"].push_back(
        {{"layer", record.layers[i]}, {"correlation", to_json(record.by_layer.at(i))}});
  }
  json["by_loss"] = to_json(record.by_loss);
  json["by_word_position"] = to_json(record.by_word_position);
  json["by_frequency"] = to_json(record.by_frequency);
  return json;
}

Json to_json(const StepRecord& record) {
  Json json;
  json["step"] = record.step;
  json["tokens"] = record.tokens;
  json["loss"] = number(record.loss);
  json["lm_loss"] = number(record.lm_loss);
  add_losses(json, record.losses, "");
  add_losses(json, record.weighted, "_weighted");
  json["learning_rate"] = number(record.learning_rate);
  json["grad_norm"] = number(record.grad_norm);
  json["tokens_per_second"] = number(record.tokens_per_second);
  json["step_ms"] = number(record.step_ms);
  json["mfu"] = number(record.mfu);
  json["memory_bytes"] = record.memory_bytes;
  add_routing(json, record.routing);
  json["skipped_steps"] = record.skipped_steps;
  json["layers"] = Json::array();
  for (const LayerRecord& layer : record.layers) {
    Json entry;
    entry["layer"] = layer.layer;
    add_routing(entry, layer.routing);
    add_losses(entry, layer.losses, "");
    entry["load"] = layer.load;
    entry["k_histogram"] = layer.k_histogram;
    json["layers"].push_back(std::move(entry));
  }
  json["phase_ms"] = record.phase_ms;
  for (const RankRecord& rank : record.ranks) {
    json["ranks"].push_back({{"rank", rank.rank},
                             {"wait_ms", number(rank.wait_ms)},
                             {"exchanged_mb", number(rank.exchanged_mb)}});
  }
  return json;
}

Json to_json(const EvaluationRecord& record) {
  Json json;
  json["event"] = record.temperature.has_value() ? "calibration" : "evaluation";
  json["step"] = record.step;
  json["split"] = record.split;
  if (record.temperature.has_value()) json["temperature"] = number(record.temperature);
  json["loss"] = number(record.loss);
  json["perplexity"] = number(record.perplexity);
  json["bits_per_byte"] = number(record.bits_per_byte);
  json["lossless"] = record.lossless.has_value() ? Json(*record.lossless) : Json(nullptr);
  json["experts_per_token"] = number(record.experts_per_token);
  for (const auto& [name, value] : record.metrics) json["metrics"][name] = number(value);
  json["tokens"] = record.tokens;
  json["seconds"] = number(record.seconds);
  if (record.difficulty.has_value()) json["difficulty"] = to_json(*record.difficulty);
  return json;
}

}  // namespace switchyard::telemetry
