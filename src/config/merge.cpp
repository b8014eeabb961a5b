#include "config/merge.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <utility>

#include "config/yaml/value.h"
#include "switchyard/config/folders.h"
#include "switchyard/config/presets.h"
#include "switchyard/core/text.h"

namespace switchyard::config {
namespace {

constexpr const char* kLayersKey = "model.moe.layers";
constexpr const char* kEveryKey = "model.moe.every";
constexpr const char* kFirstKey = "model.moe.first";

std::string flow_text(const Node& node) {
  std::vector<std::string> parts;
  switch (node.kind) {
    case Node::Kind::kNull:
      return "none";
    case Node::Kind::kScalar:
      return printable(node.text);
    case Node::Kind::kList:
      for (const Node& item : node.items) parts.push_back(flow_text(item));
      return fmt::format("[{}]", join(parts, ", "));
    case Node::Kind::kMap:
      for (const Node& entry : node.items) {
        parts.push_back(fmt::format("{}: {}", printable(entry.key), flow_text(entry)));
      }
      return fmt::format("{{{}}}", join(parts, ", "));
  }
  return {};
}

// None or 0.
bool is_off(const Node& node) {
  return node.is_none() || parse_number(node.text) == 0.0;
}

// A run's file gives every option a value, as if somebody had asked for it.
bool is_spelled_out(const Setting& setting) {
  const auto& name = setting.position.name;
  return name != nullptr && std::filesystem::path(*name).filename() == kResolvedConfigName;
}

// Maps merge entry by entry.
Node merged_node(const Node& below, Node above) {
  if (below.kind != Node::Kind::kMap || above.kind != Node::Kind::kMap) return above;
  for (const Node& entry : below.items) {
    const bool replaced = std::any_of(above.items.begin(), above.items.end(),
                                      [&](const Node& other) { return other.key == entry.key; });
    if (!replaced) above.items.push_back(entry);
  }
  return above;
}

class Merger {
 public:
  explicit Merger(Problems& problems) : problems_(problems) {}

  void add(Source source) {
    merged_.bad_keys.merge(source.bad_keys);
    std::set<std::string> set_here;
    for (Setting& setting : source.settings) set_here.insert(setting.key);
    settle_placement(source, set_here);
    const std::map<std::string, std::string> types = router_types_set();
    for (Setting& setting : source.settings) {
      const auto below = merged_.settings.find(setting.key);
      if (below != merged_.settings.end()) {
        setting.node = merged_node(below->second.node, std::move(setting.node));
      }
      const std::string key = setting.key;
      merged_.settings.insert_or_assign(key, std::move(setting));
    }
    settle_spelled_out(set_here, types);
    settle_router_options(set_here);
    settle_displaced(set_here);
  }

  [[nodiscard]] Merged take() { return std::move(merged_); }

 private:
  // `layers` and `every`/`first` are two ways to say one thing: the later source wins.
  void settle_placement(Source& source, const std::set<std::string>& set_here) {
    const bool lists = set_here.contains(kLayersKey);
    const bool strides = set_here.contains(kEveryKey) || set_here.contains(kFirstKey);
    if (lists && strides) {
      const std::string other = set_here.contains(kEveryKey) ? "every" : "first";
      for (const Setting& setting : source.settings) {
        if (setting.key != kLayersKey) continue;
        problems_.add(setting.position, fmt::format("{}: says the same as 'model.moe.{}'; keep one",
                                                    kLayersKey, other));
        merged_.bad_keys.insert(kLayersKey);
      }
      return;
    }
    if (lists) {
      drop(kEveryKey, fmt::format("{} is set later", kLayersKey));
      drop(kFirstKey, fmt::format("{} is set later", kLayersKey));
    } else if (strides) {
      const char* setter = set_here.contains(kEveryKey) ? kEveryKey : kFirstKey;
      drop(kLayersKey, fmt::format("{} is set later", setter));
    }
  }

  // A router type that this source changes begins with its own defaults, whatever a run's file
  // spells out of the old one's. `types`: what the router types were.
  void settle_spelled_out(const std::set<std::string>& set_here,
                          const std::map<std::string, std::string>& types) {
    for (const auto& [type_key, old_type] : types) {
      if (!set_here.contains(type_key)) continue;
      const std::optional<std::int64_t> layer = merged_.settings.at(type_key).layer;
      if (merged_.router_type(layer) == old_type) continue;
      std::vector<std::string> of_old_type;
      for (const auto& [key, setting] : merged_.settings) {
        const bool is_option = !setting.field->router_types.empty() && setting.layer == layer;
        if (is_option && is_spelled_out(setting) && !set_here.contains(key)) {
          of_old_type.push_back(key);
        }
      }
      for (const std::string& key : of_old_type) {
        drop(key, fmt::format("was of router type {}", old_type));
      }
    }
  }

  // Of the model's router options that say one thing in two ways the later source wins. One that is
  // switched off says nothing. A layer's keep out of it: without its own target a layer would be
  // steered to the model's.
  void settle_displaced(const std::set<std::string>& set_here) {
    for (const std::string& setter : set_here) {
      const auto set = merged_.settings.find(setter);
      if (set == merged_.settings.end() || set->second.layer || is_off(set->second.node)) continue;
      for (const std::string& option : set->second.field->displaces) {
        const std::string key = router_key(option, std::nullopt);
        const auto below = merged_.settings.find(key);
        if (set_here.contains(key) || below == merged_.settings.end()) continue;
        if (!is_off(below->second.node)) drop(key, fmt::format("{} is set later", setter));
      }
    }
  }

  // The model's and the layers' router types so far, by key.
  [[nodiscard]] std::map<std::string, std::string> router_types_set() const {
    std::map<std::string, std::string> types;
    for (const auto& [key, setting] : merged_.settings) {
      if (setting.field == find_field(kRouterTypeKey)) types[key] = setting.node.text;
    }
    return types;
  }

  // Options that the router type does not know: dropped when they come from an earlier source than
  // the type, an error when they do not.
  void settle_router_options(const std::set<std::string>& set_here) {
    std::vector<std::string> unknown;
    for (const auto& [key, setting] : merged_.settings) {
      const std::string type = merged_.router_type(setting.layer);
      const bool type_is_bad = merged_.bad_keys.contains(std::string(kRouterTypeKey)) ||
                               merged_.bad_keys.contains(router_key("type", setting.layer));
      if (!type_is_bad && !setting.field->known_to(type)) unknown.push_back(key);
    }
    for (const std::string& key : unknown) {
      const Setting& setting = merged_.settings.at(key);
      if (set_here.contains(key)) {
        problems_.add(setting.position, mistaken_option(setting));
        merged_.bad_keys.insert(key);
        merged_.settings.erase(key);
      } else {
        drop(key,
             fmt::format("router type {} has no such option", merged_.router_type(setting.layer)));
      }
    }
  }

  [[nodiscard]] std::string mistaken_option(const Setting& setting) const {
    std::string type_key = router_key("type", setting.layer);
    if (!merged_.is_set(type_key)) type_key = std::string(kRouterTypeKey);
    const auto type = merged_.settings.find(type_key);
    const std::string origin =
        type == merged_.settings.end() ? "default" : type->second.position.origin();
    return fmt::format("{}: an option of router type {}, but the type here is {} ({})", setting.key,
                       join(setting.field->router_types, " and "),
                       merged_.router_type(setting.layer), origin);
  }

  void drop(const std::string& key, const std::string& reason) {
    const auto found = merged_.settings.find(key);
    if (found == merged_.settings.end()) return;
    merged_.dropped.push_back(fmt::format("{} = {} ({}): {}", key, flow_text(found->second.node),
                                          found->second.position.origin(), reason));
    merged_.settings.erase(found);
  }

  Problems& problems_;
  Merged merged_;
};

// The preset that the sources name, as a source of its own.
std::optional<Source> preset_source(const std::vector<Source>& sources, Problems& problems) {
  const Preset* preset = nullptr;
  for (const Source& source : sources) {
    for (const Setting& setting : source.settings) {
      if (setting.key == "model.preset") preset = find_preset(setting.node.text);
    }
  }
  if (preset == nullptr) return std::nullopt;
  const auto name = std::make_shared<const std::string>(fmt::format("preset {}", preset->name));
  Source source = read_document(parse_document(preset->yaml, name, problems), problems);
  // Where in the built-in text a value stands is of no use to anybody.
  for (Setting& setting : source.settings) setting.position = {.name = name};
  return source;
}

}  // namespace

std::string Merged::router_type(std::optional<std::int64_t> layer) const {
  auto found = settings.find(router_key("type", layer));
  if (found == settings.end()) found = settings.find(std::string(kRouterTypeKey));
  return found == settings.end() ? find_field(kRouterTypeKey)->default_text
                                 : found->second.node.text;
}

std::string router_key(std::string_view option, std::optional<std::int64_t> layer) {
  if (!layer) return fmt::format("{}{}", kRouterPrefix, option);
  return fmt::format("{}.{}.{}", kPerLayerKey, *layer, option);
}

Merged merge(std::vector<Source> sources, Problems& problems) {
  Merger merger(problems);
  if (auto preset = preset_source(sources, problems)) merger.add(std::move(*preset));
  for (Source& source : sources) merger.add(std::move(source));
  return merger.take();
}

}  // namespace switchyard::config
