#include "config/yaml/source.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <memory>
#include <utility>

#include "config/yaml/other_names.h"
#include "config/yaml/plain_text.h"
#include "config/yaml/value.h"
#include "switchyard/core/text.h"
#include "switchyard/core/utf8.h"

namespace switchyard::config {
namespace {

std::string child_key(std::string_view group, std::string_view name) {
  return group.empty() ? std::string(name) : fmt::format("{}.{}", group, name);
}

std::optional<std::int64_t> layer_idx_of(std::string_view text) {
  const auto layer = parse_integer(text);
  if (!layer || *layer < 0 || *layer > 10000 || fmt::format("{}", *layer) != text) return {};
  return layer;
}

// Walks one document along the field table.
class Walk {
 public:
  Walk(Source& source, Problems& problems) : source_(source), problems_(problems) {}

  // `node` is the map of a group ("" = the whole document).
  void group(const Node& node, const std::string& key) {
    if (node.kind == Node::Kind::kNull) return;  // a heading whose keys are commented out
    if (node.kind != Node::Kind::kMap) {
      const std::string label = key.empty() ? "" : key + ": ";
      problems_.add(node.position, fmt::format("{}expected a map with keys such as {}, got {}",
                                               label, example_of(key), node.description()));
      source_.bad_keys.insert(key);
      return;
    }
    for (const Node& entry : node.items) {
      const std::string name = child_key(key, entry.key);
      const Field* field = entry.key.find('.') == std::string::npos ? find_field(name) : nullptr;
      if (name == kPerLayerKey) {
        per_layer(entry);
      } else if (field != nullptr) {
        value(*field, name, {}, entry, entry.key_position);
      } else if (entry.key.find('.') == std::string::npos && is_group(name)) {
        group(entry, name);
      } else {
        unknown_key(key, entry.key, entry.key_position);
      }
    }
  }

  void per_layer(const Node& node) {
    const std::string key(kPerLayerKey);
    if (!check(*find_field(key), key, node)) return;
    for (const Node& entry : node.items) {
      const auto layer = layer_idx_of(entry.key);
      if (!layer) {
        problems_.add(
            entry.key_position,
            fmt::format("{}: expected the number of a layer, got '{}'", key, printable(entry.key)));
        source_.bad_keys.insert(key);
        continue;
      }
      options_of_layer(*layer, fmt::format("{}.{}", key, *layer), entry);
    }
  }

  // Checks one value and keeps it when it is right.
  void value(const Field& field, const std::string& key, std::optional<std::int64_t> layer,
             const Node& node, const Position& position) {
    if (!check(field, key, node)) return;
    source_.settings.push_back(
        {.key = key, .field = &field, .layer = layer, .node = node, .position = position});
  }

  void unknown_key(std::string_view group, const std::string& name, const Position& position) {
    std::string hint;
    if (name.find('.') != std::string::npos && (find_field(name) != nullptr || is_group(name))) {
      hint = " (dotted keys are for the command line; in a file, nest them)";
    } else if (!problems_.full()) {
      hint = key_suggestion(group, name);
    }
    problems_.add(position, fmt::format("unknown key '{}'{}", printable(name), hint));
  }

 private:
  [[nodiscard]] bool check(const Field& field, const std::string& key, const Node& node) {
    Config scratch;
    // Which router the config will have is not known yet; the rules are the same for all of them.
    if (!field.router_types.empty()) scratch.model.moe.router = RouterConfig(field.router_types[0]);
    const auto found = assign(field, node, scratch);
    for (const ValueProblem& problem : found) {
      problems_.add(problem.position, fmt::format("{}: {}", key, problem.message));
    }
    if (!found.empty()) source_.bad_keys.insert(key);
    return found.empty();
  }

  void options_of_layer(std::int64_t layer, const std::string& key, const Node& node) {
    if (node.kind == Node::Kind::kNull) return;
    if (node.kind != Node::Kind::kMap) {
      problems_.add(node.position, fmt::format("{}: expected a map of router options, got {}", key,
                                               node.description()));
      source_.bad_keys.insert(key);
      return;
    }
    for (const Node& entry : node.items) {
      const std::string option = std::string(kRouterPrefix) + entry.key;
      const Field* field = find_field(option);
      if (field == nullptr || option == kPerLayerKey) {
        unknown_key(kRouterPrefix.substr(0, kRouterPrefix.size() - 1), entry.key,
                    entry.key_position);
      } else {
        value(*field, fmt::format("{}.{}", key, entry.key), layer, entry, entry.key_position);
      }
    }
  }

  static std::string example_of(const std::string& key) {
    std::vector<std::string> names = names_in_group(key);
    names.resize(std::min<std::size_t>(names.size(), 3));
    return join(names, ", ");
  }

  Source& source_;
  Problems& problems_;
};

// Reads the arguments "key.sub=value".
class OverrideReader {
 public:
  OverrideReader(Source& source, Problems& problems)
      : source_(source), walk_(source, problems), problems_(problems) {
    position_.name = std::make_shared<const std::string>("command line");
  }

  void read(std::string_view argument) {
    const std::size_t equals = argument.find('=');
    if (equals == std::string_view::npos || equals == 0) {
      problems_.add(position_,
                    fmt::format("'{}' is not of the form key.sub=value", printable(argument)));
      return;
    }
    const std::string key(argument.substr(0, equals));
    const std::string_view text = argument.substr(equals + 1);
    const Field* field = find_field(key);
    if (field != nullptr && key != kPerLayerKey) {
      const bool is_text = std::holds_alternative<std::string& (*)(Config&)>(field->access);
      if (const auto node = is_text ? text_node(key, text) : node_of(key, text)) {
        walk_.value(*field, key, {}, *node, position_);
      }
      return;
    }
    const std::size_t dot = key.rfind('.');
    const std::string parent = dot == std::string::npos ? std::string() : key.substr(0, dot);
    if (key == kPerLayerKey || key.starts_with(std::string(kPerLayerKey) + ".")) {
      if (const auto node = node_of(key, text)) {
        walk_.per_layer(wrapped(std::string_view(key).substr(kPerLayerKey.size()), *node));
      }
    } else if (is_group(key)) {
      if (const auto node = node_of(key, text)) walk_.group(*node, key);
    } else if (const Field* composite = find_field(parent); composite != nullptr) {
      if (const auto node = node_of(key, text)) {
        walk_.value(*composite, parent, {}, wrapped(std::string_view(key).substr(dot), *node),
                    position_);
      }
    } else {
      unknown(key);
    }
  }

 private:
  // Text is taken as it is, so that '#', ':' and the like need no quoting; quotes may be used.
  std::optional<Node> text_node(const std::string& key, std::string_view text) {
    const bool quoted = text.size() >= 2 && text.front() == text.back() &&
                        (text.front() == '"' || text.front() == '\'');
    if (quoted) return node_of(key, text);
    if (first_control_character(text) || first_invalid_utf8(text)) {
      problems_.add(position_, fmt::format("{}: the value is not plain text", printable(key)));
      source_.bad_keys.insert(key);
      return std::nullopt;
    }
    return Node{.kind = Node::Kind::kScalar, .position = position_, .text = std::string(text)};
  }

  // nullopt when the value cannot be parsed; the problem has been added.
  std::optional<Node> node_of(const std::string& key, std::string_view text) {
    auto node = parse_value(text, position_, key, problems_);
    if (node) {
      node->position = position_;
      return node;
    }
    source_.bad_keys.insert(key);
    return std::nullopt;
  }

  // ".2.p" around v gives {2: {p: v}}.
  [[nodiscard]] Node wrapped(std::string_view path, Node node) const {
    constexpr int kDeepest = 4;
    for (int depth = 0; depth < kDeepest && !path.empty(); ++depth) {
      const std::size_t dot = path.rfind('.');
      Node outer{.kind = Node::Kind::kMap, .position = position_};
      node.key = std::string(path.substr(dot + 1));
      node.key_position = position_;
      outer.items.push_back(std::move(node));
      node = std::move(outer);
      path = path.substr(0, dot);
    }
    return node;
  }

  void unknown(const std::string& key) {
    std::string group;
    std::string_view rest = key;
    while (true) {
      const std::size_t dot = rest.find('.');
      const std::string name(rest.substr(0, dot));
      const std::string full = child_key(group, name);
      if (dot == std::string_view::npos || !is_group(full)) {
        problems_.add(position_, fmt::format("{}: unknown key '{}'{}", printable(key),
                                             printable(name), key_suggestion(group, name)));
        return;
      }
      group = full;
      rest = rest.substr(dot + 1);
    }
  }

  Source& source_;
  Walk walk_;
  Problems& problems_;
  Position position_;
};

}  // namespace

std::string key_suggestion(std::string_view group, std::string_view name) {
  const std::vector<std::string> names = names_in_group(group);
  const bool known = std::find(names.begin(), names.end(), name) != names.end();
  if (known) return {};  // the right name one level too deep
  std::string near = suggestion(name, names);
  if (!near.empty()) return near;
  if (const std::string_view ours = key_called_elsewhere(name); !ours.empty()) {
    return fmt::format(" (did you mean '{}'?)", ours);
  }
  // The right name in the wrong group.
  std::vector<std::string> leaves;
  for (const Field& field : all_fields()) {
    leaves.push_back(field.key.substr(field.key.rfind('.') + 1));
    if (leaves.back() == name) return fmt::format(" (did you mean '{}'?)", field.key);
  }
  const std::string leaf = abbreviated_name(name, leaves);
  if (leaf.empty()) return {};
  const auto place = std::find(leaves.begin(), leaves.end(), leaf) - leaves.begin();
  return fmt::format(" (did you mean '{}'?)", all_fields()[static_cast<std::size_t>(place)].key);
}

Source read_overrides(std::span<const std::string> overrides, Problems& problems) {
  Source source;
  OverrideReader reader(source, problems);
  for (const std::string& argument : overrides) reader.read(argument);
  return source;
}

Source read_document(const Node& root, Problems& problems) {
  Source source;
  Walk(source, problems).group(root, "");
  return source;
}

}  // namespace switchyard::config
