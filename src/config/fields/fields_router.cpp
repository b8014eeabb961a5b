// Rows of model.moe.router and model.moe.loss, gathered from the routers' descriptors.
#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "config/fields/fields.h"
#include "switchyard/config/router.h"
#include "switchyard/core/error.h"
#include "switchyard/core/text.h"

namespace switchyard::config {
namespace {

struct TypeDefault {
  std::string type;
  std::string value;  // as in YAML
};

// One value for all, or "1e-4 for top_p, else 0" with the value of most routers last.
void set_default(Field& field, const std::vector<TypeDefault>& defaults) {
  SWITCHYARD_CHECK(!defaults.empty(), "no router has the option {}", field.key);
  std::map<std::string, std::size_t> count;
  for (const TypeDefault& entry : defaults) ++count[entry.value];
  const std::string most_common =
      std::max_element(count.begin(), count.end(), [](const auto& a, const auto& b) {
        return a.second < b.second;
      })->first;
  if (count.size() == 1) {
    field.default_text = most_common;
    return;
  }
  std::vector<std::string> parts;
  for (const auto& [value, number] : count) {
    if (value == most_common) continue;
    std::vector<std::string> types;
    for (const TypeDefault& entry : defaults) {
      if (entry.value == value) types.push_back(entry.type);
    }
    parts.push_back(fmt::format("{} for {}", value, join(types, " and ")));
  }
  field.default_kind = DefaultKind::kDepends;
  field.default_text = fmt::format("{}, else {}", join(parts, ", "), most_common);
}

Field renormalize_field() {
  Field field{.key = std::string(kRouterPrefix) + "renormalize",
              .access = SWITCHYARD_AT(model.moe.router.renormalize),
              .help = "scale the weights of a token's experts to sum 1"};
  std::vector<TypeDefault> defaults;
  for (const RouterDescriptor* router : router_descriptors()) {
    if (!router->renormalize) continue;
    defaults.push_back({router->name, *router->renormalize ? "true" : "false"});
    field.router_types.push_back(router->name);
    field.access_of_type.push_back(field.access);
  }
  set_default(field, defaults);
  return field;
}

bool same_row(const Field& a, const Field& b) {
  return a.type_name() == b.type_name() && a.default_kind == b.default_kind &&
         a.default_text == b.default_text && a.range == b.range && a.choices == b.choices &&
         a.unit == b.unit && a.help == b.help && a.displaces == b.displaces;
}

// Values are checked before the type is known, so an option means the same in all that know it.
void add_option(std::vector<Field>& fields, Field option, const std::string& type) {
  option.key = std::string(kRouterPrefix) + option.key;
  const auto found = std::find_if(fields.begin(), fields.end(),
                                  [&](const Field& field) { return field.key == option.key; });
  if (found == fields.end()) {
    option.router_types = {type};
    option.access_of_type = {option.access};
    fields.push_back(std::move(option));
    return;
  }
  SWITCHYARD_CHECK(!found->router_types.empty() && same_row(*found, option),
                   "{} of router {} is not the one of {}", option.key, type,
                   join(found->router_types, " and "));
  found->router_types.push_back(type);
  found->access_of_type.push_back(option.access);
}

Field loss_field(Field field, std::string RouterLosses::*value) {
  std::vector<TypeDefault> defaults;
  for (const RouterDescriptor* router : router_descriptors()) {
    defaults.push_back({router->name, router->losses.*value});
  }
  set_default(field, defaults);
  return field;
}

}  // namespace

std::vector<Field> router_fields() {
  std::vector<Field> fields{{.key = std::string(kRouterTypeKey),
                             .access = SWITCHYARD_AT(model.moe.router.type),
                             .default_text = "top_p",
                             .choices = router_types(),
                             .help = "which router chooses the experts of a token"},
                            renormalize_field()};
  for (const RouterDescriptor* router : router_descriptors()) {
    for (const Field& option : router->options) add_option(fields, option, router->name);
  }
  fields.push_back(
      {.key = std::string(kPerLayerKey),
       .access = SWITCHYARD_AT(model.moe.router_of_layer),
       .default_text = "{}",
       .help = "router options of single layers on top of the ones above: {3: {p: 0.6}}"});
  return fields;
}

std::vector<Field> router_loss_fields() {
  return {
      loss_field({.key = "model.moe.loss.load_balance",
                  .access = SWITCHYARD_AT(model.moe.loss.load_balance),
                  .range = at_least(0),
                  .unit = "coefficient",
                  .help = "load-balance loss"},
                 &RouterLosses::load_balance),
      loss_field({.key = "model.moe.loss.dynamic",
                  .access = SWITCHYARD_AT(model.moe.loss.dynamic),
                  .range = at_least(0),
                  .unit = "coefficient",
                  .help = "dynamic loss: the entropy of the router's probabilities"},
                 &RouterLosses::dynamic),
      {.key = "model.moe.loss.z",
       .access = SWITCHYARD_AT(model.moe.loss.z),
       .default_text = "0",
       .range = at_least(0),
       .unit = "coefficient",
       .help = "router z-loss: the square of the logits' log-sum-exp"},
      loss_field({.key = "model.moe.loss.normalize",
                  .access = SWITCHYARD_AT(model.moe.loss.normalize),
                  .choices = {"tokens", "assignments"},
                  .help = "what an expert's load is divided by in the load-balance loss"},
                 &RouterLosses::normalize),
      {.key = "model.moe.loss.scope",
       .access = SWITCHYARD_AT(model.moe.loss.scope),
       .default_text = "global",
       .choices = {"global", "sequence", "local"},
       .help = "tokens that must balance: of all ranks, of a sequence, of a rank"},
  };
}

}  // namespace switchyard::config
