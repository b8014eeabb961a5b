// A resolved Config as YAML, with or without the origin of every value.
#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "config/merge.h"
#include "config/resolve.h"
#include "config/yaml/value.h"
#include "switchyard/config/load.h"
#include "switchyard/config/values.h"
#include "switchyard/core/text.h"

namespace switchyard::config {
namespace {

struct Line {
  std::string text;
  std::string key{};  // empty for a heading
  std::string value{};
};

class Writer {
 public:
  explicit Writer(const Config& config) : config_(config) {
    const MoeConfig& moe = config.model.moe;
    by_stride_ = moe.layers == placement(config.model);
  }

  [[nodiscard]] std::vector<Line> run() {
    for (const Field& field : all_fields()) {
      if (!field.known_to(config_.model.moe.router.type)) continue;
      // Only one of the two ways to say where the experts are, or loading would refuse it.
      const bool stride = field.key == "model.moe.every" || field.key == "model.moe.first";
      if (by_stride_ ? field.key == "model.moe.layers" : stride) continue;
      const std::string name = open_groups(field.key);
      if (field.key == kPerLayerKey && !config_.model.moe.router_of_layer.empty()) {
        lines_.push_back({indent(depth_) + name + ":"});
        layers();
      } else {
        put(depth_, name, value_text(field, config_), field.key);
      }
    }
    return std::move(lines_);
  }

 private:
  static std::string indent(std::size_t depth) { return std::string(2 * depth, ' '); }

  void put(std::size_t depth, const std::string& name, const std::string& value,
           const std::string& key) {
    lines_.push_back({fmt::format("{}{}: {}", indent(depth), name, value), key, value});
  }

  // Writes the headings between the last key and this one; returns the last part of the key.
  std::string open_groups(const std::string& key) {
    const std::vector<std::string_view> names = split(key, ".");
    std::vector<std::string> parts(names.begin(), names.end());
    std::string name = parts.back();
    parts.pop_back();
    std::size_t same = 0;
    while (same < std::min(parts.size(), groups_.size()) && parts[same] == groups_[same]) ++same;
    for (std::size_t i = same; i < parts.size(); ++i) {
      lines_.push_back({indent(i) + parts[i] + ":"});
    }
    groups_ = std::move(parts);
    depth_ = groups_.size();
    return name;
  }

  void layers() {
    for (const auto& [layer, router] : config_.model.moe.router_of_layer) {
      lines_.push_back({fmt::format("{}{}:", indent(depth_ + 1), layer)});
      Config scratch;
      scratch.model.moe.router = router;
      for (const Field& field : all_fields()) {
        if (!field.key.starts_with(kRouterPrefix) || field.key == kPerLayerKey) continue;
        if (!field.known_to(router.type)) continue;
        const std::string option = field.key.substr(kRouterPrefix.size());
        put(depth_ + 2, option, value_text(field, scratch), router_key(option, layer));
      }
    }
  }

  const Config& config_;
  bool by_stride_ = false;
  std::vector<Line> lines_;
  std::vector<std::string> groups_;
  std::size_t depth_ = 0;
};

std::string layers_text(const Config& config) {
  if (static_cast<std::int64_t>(config.model.moe.layers.size()) == config.model.num_layers) {
    return "experts in every layer";
  }
  std::vector<std::string> layers;
  for (const std::int64_t layer : config.model.moe.layers) {
    layers.push_back(fmt::format("{}", layer));
  }
  return layers.empty() ? "no MoE layers" : fmt::format("MoE layers {}", join(layers, ", "));
}

}  // namespace

std::string to_yaml(const Config& config) {
  std::string text;
  for (const Line& line : Writer(config).run()) text += line.text + "\n";
  return text;
}

std::vector<std::pair<std::string, std::string>> fields_of(const Config& config) {
  std::vector<std::pair<std::string, std::string>> fields;
  for (const Line& line : Writer(config).run()) {
    if (!line.key.empty()) fields.emplace_back(line.key, line.value);
  }
  return fields;
}

std::string show(const Resolved& resolved) {
  constexpr std::size_t kWidestColumn = 44;
  const std::vector<Line> lines = Writer(resolved.config).run();
  std::size_t width = 0;
  for (const Line& line : lines) width = std::max(width, line.text.size());
  width = std::min(width, kWidestColumn);

  std::string text;
  for (const Line& line : lines) {
    const auto origin = resolved.origin_of_key.find(line.key);
    if (origin == resolved.origin_of_key.end()) {
      text += line.text + "\n";
      continue;
    }
    const std::string more =
        line.key == "model.moe.every" ? fmt::format("; {}", layers_text(resolved.config)) : "";
    text += fmt::format("{:<{}}  # {}{}\n", line.text, width, origin->second, more);
  }
  if (!resolved.dropped.empty()) {
    text += "\n# Dropped, because a later source made them meaningless:\n";
    for (const std::string& line : resolved.dropped) text += fmt::format("#   {}\n", line);
  }
  return text;
}

}  // namespace switchyard::config
