#include "config/resolve.h"

#include <fmt/format.h>

#include "config/yaml/value.h"
#include "switchyard/config/router.h"
#include "switchyard/core/error.h"

namespace switchyard::config {
namespace {

Node parsed_default(const std::string& text, const std::string& key) {
  const Position position{.name = std::make_shared<const std::string>("default")};
  Problems problems;
  return parse_value(text, position, key, problems).value_or(Node{});
}

// Every kValue default, parsed once.
const Node& default_node(const Field& field) {
  static const std::map<std::string, Node> nodes = [] {
    std::map<std::string, Node> parsed;
    for (const Field& row : all_fields()) {
      if (row.default_kind != DefaultKind::kValue) continue;
      parsed[row.key] = parsed_default(row.default_text, row.key);
    }
    return parsed;
  }();
  return nodes.at(field.key);
}

void assign_default(const Field& field, Config& config) {
  SWITCHYARD_CHECK(assign(field, default_node(field), config).empty(),
                   "default '{}' of {} is not valid", field.default_text, field.key);
}

class Resolver {
 public:
  explicit Resolver(const Merged& merged) : merged_(merged) {}

  WithOrigins run() {
    out_.config.model.moe.router = RouterConfig(merged_.router_type());
    for (const Field& field : all_fields()) {
      if (!field.known_to(merged_.router_type())) continue;
      if (!assign_setting(field, field.key, out_.config)) set_default(field);
    }
    resolve_model();
    resolve_router(out_.config.model.moe.router, std::nullopt);
    resolve_losses();
    resolve_layers();
    resolve_schedule();
    return std::move(out_);
  }

 private:
  [[nodiscard]] bool is_set(const std::string& key) const { return merged_.is_set(key); }

  bool assign_setting(const Field& field, const std::string& key, Config& config) {
    const auto found = merged_.settings.find(key);
    if (found == merged_.settings.end()) return false;
    const bool assigned = assign(field, found->second.node, config).empty();
    SWITCHYARD_CHECK(assigned, "{} was checked when it was read", key);
    out_.origin_of_key[key] = found->second.position.origin();
    return true;
  }

  void set_default(const Field& field) {
    if (field.default_kind == DefaultKind::kValue) assign_default(field, out_.config);
    out_.origin_of_key[field.key] = "default";
  }

  void default_because(const std::string& key, std::string_view reason) {
    out_.origin_of_key[key] = fmt::format("default: {}", reason);
  }

  void resolve_model() {
    ModelConfig& model = out_.config.model;
    if (!is_set("model.num_kv_heads")) {
      model.num_kv_heads = model.num_heads;
      default_because("model.num_kv_heads", "num_heads");
    }
    if (!is_set("model.head_dim") && model.num_heads > 0) {
      model.head_dim = model.hidden_size / model.num_heads;
      default_because("model.head_dim", "hidden_size / num_heads");
    }
    if (!is_set("model.moe.layers")) {
      model.moe.layers = placement(model);
      default_because("model.moe.layers", "every and first");
    }
  }

  void resolve_router(RouterConfig& router, std::optional<std::int64_t> layer) {
    const RouterDescriptor& descriptor = descriptor_of(router);
    const std::string renormalize = router_key("renormalize", layer);
    const bool inherited = layer && is_set(router_key("renormalize", std::nullopt));
    if (descriptor.renormalize && !is_set(renormalize) && !inherited) {
      router.renormalize = *descriptor.renormalize;
      default_because(renormalize, router.type);
    }
    if (descriptor.fill_defaults == nullptr) return;
    const std::int64_t num_experts = out_.config.model.moe.num_experts;
    const bool causal = out_.config.model.is_causal();
    for (const FilledOption& filled : descriptor.fill_defaults(router, num_experts, causal)) {
      default_because(router_key(filled.option, layer), filled.reason);
    }
  }

  void resolve_losses() {
    const RouterLosses& losses = descriptor_of(out_.config.model.moe.router).losses;
    default_of_router("model.moe.loss.load_balance", losses.load_balance);
    default_of_router("model.moe.loss.dynamic", losses.dynamic);
    default_of_router("model.moe.loss.normalize", losses.normalize);
  }

  // Does nothing where routers do not differ: the field then has a default of its own.
  void default_of_router(const std::string& key, const std::string& value) {
    const Field& field = *find_field(key);
    if (is_set(key) || field.default_kind == DefaultKind::kValue) return;
    const bool assigned = assign(field, parsed_default(value, key), out_.config).empty();
    SWITCHYARD_CHECK(assigned, "default '{}' of {} is not valid", value, key);
    default_because(key, out_.config.model.moe.router.type);
  }

  // A layer's router starts as the model's; of another type, it shares only what both types know.
  void resolve_layers() {
    MoeConfig& moe = out_.config.model.moe;
    for (const auto& [key, setting] : merged_.settings) {
      if (setting.layer) moe.router_of_layer.try_emplace(*setting.layer, moe.router);
    }
    for (auto& [layer, router] : moe.router_of_layer) {
      Config scratch;
      const std::string type = merged_.router_type(layer);
      scratch.model.moe.router = RouterConfig(type);
      for (const Field& field : all_fields()) {
        if (!field.key.starts_with(kRouterPrefix) || field.key == kPerLayerKey) continue;
        if (!field.known_to(type)) continue;
        const std::string option = field.key.substr(kRouterPrefix.size());
        const std::string key = router_key(option, layer);
        if (assign_setting(field, key, scratch)) continue;
        const auto base = merged_.settings.find(field.key);
        if (base != merged_.settings.end()) {
          SWITCHYARD_CHECK(assign(field, base->second.node, scratch).empty(),
                           "{} was checked when it was read", field.key);
          out_.origin_of_key[key] = out_.origin_of_key.at(field.key);
        } else {
          if (field.default_kind == DefaultKind::kValue) assign_default(field, scratch);
          out_.origin_of_key[key] = "default";
        }
      }
      router = scratch.model.moe.router;
      resolve_router(router, layer);
    }
  }

  void resolve_schedule() {
    Config& config = out_.config;
    if (config.schedule.steps == 0) {
      config.schedule.steps = config.train.steps;
      default_because("schedule.steps", "train.steps");
    }
    if (!is_set("schedule.decay_steps") && config.schedule.type == "warmup_stable_decay") {
      config.schedule.decay_steps = config.schedule.steps / 10;
      default_because("schedule.decay_steps", "schedule.steps / 10");
    }
  }

  const Merged& merged_;
  WithOrigins out_;
};

}  // namespace

WithOrigins resolve(const Merged& merged) {
  return Resolver(merged).run();
}

std::vector<std::int64_t> placement(const ModelConfig& model) {
  std::vector<std::int64_t> layers;
  if (model.moe.num_experts == 0) return layers;
  for (std::int64_t layer = model.moe.first; layer < model.num_layers; layer += model.moe.every) {
    layers.push_back(layer);
  }
  return layers;
}

}  // namespace switchyard::config
