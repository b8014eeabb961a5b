#include "config/rules/validate.h"

#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>
#include <memory>

#include "switchyard/config/blend_order.h"
#include "switchyard/config/folders.h"
#include "switchyard/config/router.h"
#include "switchyard/core/text.h"

namespace switchyard::config {
namespace {

class Rules {
 public:
  Rules(const Merged& merged, const std::string& name, Problems& problems)
      : merged_(merged), problems_(problems) {
    file_.name = std::make_shared<const std::string>(name);
  }

  // Reports `message` about keys[0] when the rule is broken. The position is that of the first of
  // the keys that was set.
  void require(bool holds, std::initializer_list<std::string> keys, std::string_view message) {
    if (holds) return;
    for (const std::string& key : keys) {
      if (is_bad(key)) return;
    }
    Position position = file_;
    for (const std::string& key : keys) {
      const auto found = merged_.settings.find(key);
      if (found == merged_.settings.end()) continue;
      position = found->second.position;
      break;
    }
    problems_.add(position, fmt::format("{}: {}", *keys.begin(), message));
  }

  void require_set(const Field& field) {
    if (merged_.is_set(field.key) || is_bad(field.key)) return;
    problems_.add(file_, fmt::format("{}: required, but not set ({})", field.key, field.help));
  }

  // The key, or a group around it, was set to something wrong.
  [[nodiscard]] bool is_bad(const std::string& key) const {
    return std::any_of(merged_.bad_keys.begin(), merged_.bad_keys.end(),
                       [&key](const std::string& bad) {
                         // A preset that is wrong would have set some of the model.
                         if (bad == "model.preset" && key.starts_with("model.")) return true;
                         return key == bad || bad.empty() || key.starts_with(bad + ".");
                       });
  }
  [[nodiscard]] bool is_set(const std::string& key) const { return merged_.is_set(key); }
  // Some router option that was set for this layer.
  [[nodiscard]] std::string key_of_layer(std::int64_t layer) const {
    const auto found =
        std::find_if(merged_.settings.begin(), merged_.settings.end(),
                     [layer](const auto& entry) { return entry.second.layer == layer; });
    return found == merged_.settings.end() ? std::string() : found->first;
  }

 private:
  const Merged& merged_;
  Problems& problems_;
  Position file_;
};

std::string list_text(const std::vector<std::int64_t>& values) {
  std::vector<std::string> parts;
  parts.reserve(values.size());
  for (const std::int64_t value : values) parts.push_back(fmt::format("{}", value));
  return join(parts, ", ");
}

void check_heads(const ModelConfig& model, Rules& rules) {
  const bool sizes_known = model.num_heads > 0 && model.hidden_size > 0;
  if (sizes_known && !rules.is_set("model.head_dim")) {
    rules.require(model.hidden_size % model.num_heads == 0,
                  {"model.num_heads", "model.hidden_size", "model.head_dim"},
                  fmt::format("hidden_size {} is not divisible by num_heads {}; set model.head_dim "
                              "to choose the width of a head",
                              model.hidden_size, model.num_heads));
  }
  const bool divides = sizes_known && model.hidden_size % model.num_heads == 0;
  if (divides || rules.is_set("model.head_dim")) {
    rules.require(model.head_dim % 2 == 0,
                  {"model.head_dim", "model.num_heads", "model.hidden_size"},
                  fmt::format("must be even for rotary positions, got {}", model.head_dim));
  }
  if (model.num_heads > 0 && model.num_kv_heads > 0) {
    rules.require(
        model.num_heads % model.num_kv_heads == 0, {"model.num_kv_heads", "model.num_heads"},
        fmt::format("must divide num_heads {}, got {}", model.num_heads, model.num_kv_heads));
  }
}

void check_placement(const ModelConfig& model, Rules& rules) {
  const MoeConfig& moe = model.moe;
  const std::string layers_key = "model.moe.layers";
  const std::string shared_key = "model.moe.shared_expert_size";
  rules.require(moe.shared_expert_size == 0 || moe.num_experts > 0,
                {shared_key, "model.moe.num_experts"},
                "is of an expert beside others, but model.moe.num_experts is 0");
  rules.require(!moe.shared_expert_gate || moe.shared_expert_size > 0,
                {"model.moe.shared_expert_gate", shared_key},
                "there is no shared expert; set model.moe.shared_expert_size");
  if (moe.num_experts == 0) {
    rules.require(moe.layers.empty(), {layers_key, "model.moe.num_experts"},
                  "names MoE layers, but model.moe.num_experts is 0");
  } else if (model.num_layers > 0) {
    const auto& layers = moe.layers;
    rules.require(
        !layers.empty(), {layers_key, "model.moe.first", "model.moe.every", "model.num_layers"},
        fmt::format("no layer of the {} has experts; set model.moe.num_experts to 0 for a "
                    "dense model",
                    model.num_layers));
    const bool ascending = std::adjacent_find(layers.begin(), layers.end(), [](auto a, auto b) {
                             return a >= b;
                           }) == layers.end();
    rules.require(ascending, {layers_key},
                  fmt::format("must be ascending without repeats, got [{}]", list_text(layers)));
    const bool in_range =
        layers.empty() || *std::max_element(layers.begin(), layers.end()) < model.num_layers;
    rules.require(
        in_range, {layers_key, "model.num_layers"},
        fmt::format("layers are 0 to {}, got [{}]", model.num_layers - 1, list_text(layers)));
    rules.require(moe.expert_size > 0, {"model.moe.expert_size", "model.moe.num_experts"},
                  "required when model.moe.num_experts > 0 (intermediate size of an expert)");
  }
  for (std::int64_t layer = 0; layer < model.num_layers; ++layer) {
    if (std::binary_search(moe.layers.begin(), moe.layers.end(), layer)) continue;
    rules.require(model.ffn_size > 0, {"model.ffn_size", layers_key, "model.moe.num_experts"},
                  fmt::format("required, because layer {} has no experts", layer));
    break;
  }
}

// The rules of one router; `layer` for the messages.
void check_router(const RouterConfig& router, const ModelConfig& model,
                  std::optional<std::int64_t> layer, Rules& rules) {
  const auto key = [layer](std::string_view option) { return router_key(option, layer); };
  // Position: the layer's own value, else the model's.
  const auto require = [&](bool holds, std::string_view option, std::string_view other,
                           const std::string& message) {
    rules.require(holds,
                  {key(option), key(other), router_key(option, std::nullopt),
                   router_key(other, std::nullopt), "model.moe.num_experts"},
                  message);
  };
  const RouterDescriptor& descriptor = descriptor_of(router);
  const bool is_causal = model.is_causal() && !rules.is_bad("model.type");
  if (descriptor.bidirectional != nullptr && is_causal) {
    for (const BidirectionalOption& found : descriptor.bidirectional(router)) {
      require(false, found.option, found.option, found.reason);
    }
  }
  if (descriptor.check != nullptr) {
    descriptor.check(router, {.num_experts = model.moe.num_experts, .require = require});
  }
}

// What layers steer together they steer to one number.
void check_budget_of_model(const ModelConfig& model, Rules& rules) {
  std::optional<std::int64_t> first;
  double first_budget = 0.0;
  for (const std::int64_t layer : model.moe.layers) {
    const RouterConfig& router = model.router_at(layer);
    const auto budget_of = descriptor_of(router).model_budget;
    const std::optional<double> budget = budget_of == nullptr ? std::nullopt : budget_of(router);
    if (!budget) continue;
    if (!first) {
      first = layer;
      first_budget = *budget;
    }
    const std::int64_t named = model.moe.router_of_layer.contains(layer) ? layer : *first;
    rules.require(
        *budget == first_budget,
        {router_key("target_k", named), router_key("target_k", layer),
         router_key("target_k", std::nullopt)},
        fmt::format("layer {} steers the mean of all MoE layers to {}, layer {} to {}; give them "
                    "one target_k, or control: layer to a layer with a budget of its own",
                    *first, first_budget, layer, *budget));
    if (*budget != first_budget) return;
  }
}

void check_routers(const ModelConfig& model, Rules& rules) {
  const MoeConfig& moe = model.moe;
  if (moe.num_experts > 0) check_router(moe.router, model, std::nullopt, rules);
  if (model.num_layers == 0) return;
  for (const auto& [layer, router] : moe.router_of_layer) {
    const bool exists = std::binary_search(moe.layers.begin(), moe.layers.end(), layer);
    const std::string known = moe.layers.empty() ? "none" : list_text(moe.layers);
    rules.require(exists,
                  {fmt::format("{}.{}", kPerLayerKey, layer), rules.key_of_layer(layer),
                   "model.moe.layers", "model.num_layers"},
                  fmt::format("not an MoE layer (MoE layers: {})", known));
    if (exists) check_router(router, model, layer, rules);
  }
  check_budget_of_model(model, rules);
}

void check_paths(const Config& config, Rules& rules) {
  const auto check = [&rules](const std::string& key, const std::string& path) {
    const auto problem = problem_of_tilde(path);
    rules.require(!problem, {key}, problem.value_or(""));
  };
  check("run.dir", config.run.dir);
  check("run.from", config.run.from);
  check("data.path", config.data.path);
  for (const BlendItem& item : config.data.blend) check("data.blend", item.path);
}

// What only one kind of model knows.
void check_kind(const Config& config, Rules& rules) {
  if (rules.is_bad("model.type")) return;
  if (config.model.is_causal()) {
    // A resolved config spells the defaults out.
    const DataConfig plain;
    const std::string message = "only an encoder guesses masked tokens; set model.type: encoder";
    rules.require(config.data.mask_rate == plain.mask_rate, {"data.mask_rate", "model.type"},
                  message);
    rules.require(config.data.mask_whole_words == plain.mask_whole_words,
                  {"data.mask_whole_words", "model.type"}, message);
    return;
  }
  constexpr std::int64_t kShortest =
      4;  // two special tokens, one to guess and one to guess it from
  rules.require(config.data.sequence_length >= kShortest, {"data.sequence_length", "model.type"},
                fmt::format("must be at least {} for an encoder, got {}", kShortest,
                            config.data.sequence_length));
  rules.require(config.train.sample_prompt.empty(), {"train.sample_prompt", "model.type"},
                "an encoder writes no text; leave it out or set model.type: decoder");
  rules.require(!config.train.calibrate, {"train.calibrate", "model.type"},
                "nobody asks an encoder for its probabilities; leave it out or set model.type: "
                "decoder");
}

// A set of the blend that no sample of the run would come from is a mistake in the weights.
void check_blend(const Config& config, Rules& rules) {
  const auto& blend = config.data.blend;
  if (blend.empty() || config.train.steps < 1 || rules.is_bad("data.blend")) return;
  std::vector<double> weights;
  weights.reserve(blend.size());
  for (const BlendItem& item : blend) weights.push_back(item.weight);
  // The product of two allowed values may be beyond int64.
  const double product =
      static_cast<double>(config.train.steps) * static_cast<double>(config.train.global_batch_size);
  const auto num_samples = static_cast<std::int64_t>(std::min(product, 0x1p62));
  const auto counts = BlendOrder(weights).counts(num_samples);
  for (std::size_t set = 0; set < blend.size(); ++set) {
    rules.require(counts[set] > 0, {"data.blend", "train.steps", "train.global_batch_size"},
                  fmt::format("of the run's {} samples (train.steps x train.global_batch_size) "
                              "none would come from '{}', whose weight is {}; raise it or leave "
                              "the set out",
                              num_samples, printable_line(blend[set].path), blend[set].weight));
  }
}

void check_run(const Config& config, Rules& rules) {
  const bool has_path = !config.data.path.empty();
  const bool has_blend = !config.data.blend.empty();
  rules.require(has_path || has_blend, {"data.path", "data.blend"},
                "required, but not set (folder written by `switchyard prepare`; or data.blend)");
  rules.require(!has_path || !has_blend, {"data.blend", "data.path"},
                "not together with data.path; keep one");

  const TrainConfig& train = config.train;
  rules.require(train.global_batch_size % train.micro_batch_size == 0,
                {"train.global_batch_size", "train.micro_batch_size"},
                fmt::format("must be a multiple of micro_batch_size {}, got {}",
                            train.micro_batch_size, train.global_batch_size));
  rules.require(train.precision != "fp64" || config.model.moe.compute != "grouped_mm",
                {"model.moe.compute", "train.precision"},
                "grouped_mm does not support precision fp64; use auto or loop");
  rules.require(config.model.moe.compute != "cutlass" ||
                    (train.precision == "bf16" && train.device == "cuda"),
                {"model.moe.compute", "train.precision", "train.device"},
                fmt::format("cutlass needs precision bf16 on device cuda, got {} on {}; use auto",
                            train.precision, train.device));
  rules.require(config.optim.betas.size() == 2, {"optim.betas"},
                fmt::format("expected two numbers, got {}", config.optim.betas.size()));
  const std::int64_t num_experts = config.model.moe.num_experts;
  const std::int64_t expert = config.parallel.expert;
  rules.require(expert == 1 || (num_experts > 0 && num_experts % expert == 0),
                {"parallel.expert", "model.moe.num_experts"},
                fmt::format("must divide the number of experts {}, got {}", num_experts, expert));
  const std::int64_t experts_of_rank = std::max<std::int64_t>(1, num_experts / expert);
  const std::int64_t chunks = config.parallel.exchange_chunks;
  rules.require(
      experts_of_rank % chunks == 0,
      {"parallel.exchange_chunks", "parallel.expert", "model.moe.num_experts"},
      fmt::format("must divide the {} experts of a rank, got {}", experts_of_rank, chunks));
}

void check_schedule(const Config& config, Rules& rules) {
  const ScheduleConfig& schedule = config.schedule;
  if (schedule.steps == 0) return;  // train.steps is missing, which has been reported
  const bool decays = schedule.type == "warmup_stable_decay";
  const std::int64_t decay = schedule.decay_steps > 0
                                 ? schedule.decay_steps
                                 : std::max<std::int64_t>(1, schedule.steps / 10);
  rules.require(
      schedule.warmup_steps <= schedule.steps,
      {"schedule.warmup_steps", "schedule.steps", "train.steps"},
      fmt::format("must be at most schedule.steps {}, got {}; set schedule.warmup_steps={} "
                  "(0 = no warm-up)",
                  schedule.steps, schedule.warmup_steps, schedule.steps / 10));
  rules.require(decays || schedule.decay_steps == 0, {"schedule.decay_steps", "schedule.type"},
                fmt::format("only warmup_stable_decay has a decay phase; the type here is {}",
                            schedule.type));
  rules.require(!decays || schedule.warmup_steps > schedule.steps ||
                    schedule.warmup_steps + decay <= schedule.steps,
                {"schedule.decay_steps", "schedule.warmup_steps", "schedule.steps"},
                fmt::format("with warmup_steps {} must be at most schedule.steps {}, got {}",
                            schedule.warmup_steps, schedule.steps, decay));
}

}  // namespace

void validate(const Config& config, const Merged& merged, Scope scope, const std::string& name,
              Problems& problems) {
  Rules rules(merged, name, problems);
  for (const Field& field : all_fields()) {
    const bool in_scope = scope == Scope::kRun || field.key.starts_with("model.");
    if (in_scope && field.default_kind == DefaultKind::kRequired) rules.require_set(field);
  }
  check_heads(config.model, rules);
  check_placement(config.model, rules);
  check_routers(config.model, rules);
  if (scope == Scope::kModelOnly) return;
  check_paths(config, rules);
  check_kind(config, rules);
  check_blend(config, rules);
  check_run(config, rules);
  check_schedule(config, rules);
}

}  // namespace switchyard::config
