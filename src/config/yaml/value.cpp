#include "config/yaml/value.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <system_error>
#include <type_traits>
#include <utility>

#include "config/yaml/other_names.h"
#include "config/yaml/plain_text.h"
#include "switchyard/core/text.h"

namespace switchyard::config {
namespace {

template <typename Value>
struct Parsed {
  std::optional<Value> value;
  std::string problem;
};

bool is_plain_scalar(const Node& node) {
  return node.kind == Node::Kind::kScalar && !node.quoted;
}

template <typename Integer>
Parsed<Integer> integer_of(const Node& node, const Range& range) {
  std::optional<Integer> value;
  if (is_plain_scalar(node)) {
    // Seeds use the full 64 bits, which parse_integer cannot hold.
    const char* end = node.text.data() + node.text.size();
    Integer whole{};
    const auto [rest, error] = std::from_chars(node.text.data(), end, whole);
    const bool zero_padded = node.text.size() > 1 && node.text[0] == '0';
    if (error == std::errc() && rest == end && !zero_padded) {
      value = whole;
    } else if (const auto parsed = parse_integer(node.text);
               parsed && std::in_range<Integer>(*parsed)) {
      value = static_cast<Integer>(*parsed);
    }
  }
  if (!value) {
    return {{},
            fmt::format("expected {}, got {}{}",
                        std::is_unsigned_v<Integer> ? "an integer >= 0" : "an integer",
                        node.description(), why_no_integer(node.text))};
  }
  if (!range.contains(static_cast<double>(*value))) {
    return {{}, fmt::format("must be {}, got {}", range.text(), *value)};
  }
  return {value, {}};
}

Parsed<double> number_of(const Node& node, const Range& range) {
  const auto value = is_plain_scalar(node) ? parse_number(node.text) : std::nullopt;
  if (!value) {
    return {{},
            fmt::format("expected a finite number, got {}{}", node.description(),
                        why_no_number(node.text))};
  }
  if (!range.contains(*value)) {
    return {{}, fmt::format("must be {}, got {}", range.text(), printable(node.text))};
  }
  return {value, {}};
}

// Stores one node into one member; an overload per field type.
class Assigner {
 public:
  Assigner(const Field& field, const Node& node, Config& config)
      : field_(field), node_(node), config_(config) {}

  [[nodiscard]] std::vector<ValueProblem> take_problems() { return std::move(problems_); }

  void operator()(bool& (*at)(Config&)) {
    if (is_plain_scalar(node_) && (node_.text == "true" || node_.text == "false")) {
      at(config_) = node_.text == "true";
    } else {
      fail(fmt::format("expected true or false, got {}", node_.description()));
    }
  }

  void operator()(std::int64_t& (*at)(Config&)) {
    store(integer_of<std::int64_t>(node_, field_.range), at(config_));
  }
  void operator()(std::uint64_t& (*at)(Config&)) {
    store(integer_of<std::uint64_t>(node_, field_.range), at(config_));
  }
  void operator()(double& (*at)(Config&)) { store(number_of(node_, field_.range), at(config_)); }

  void operator()(std::string& (*at)(Config&)) {
    const bool optional = field_.default_text == "\"\"";
    if (node_.kind == Node::Kind::kNull && optional) {
      at(config_).clear();
      return;
    }
    if (node_.kind != Node::Kind::kScalar || (node_.text.empty() && !optional)) {
      fail(fmt::format("expected text, got {}", node_.description()));
      return;
    }
    const auto& choices = field_.choices;
    // A folder may have any name, which is written into its run's configuration and read again.
    const bool is_plain = choices.empty() ? node_.text.find('\0') == std::string::npos
                                          : !first_control_character(node_.text);
    if (!is_plain) {
      fail(fmt::format("expected plain text, got {}", node_.description()));
      return;
    }
    const bool chosen = std::find(choices.begin(), choices.end(), node_.text) != choices.end();
    if (!choices.empty() && !chosen && !(optional && node_.text.empty())) {
      fail(fmt::format("must be one of {}, got {}{}", join(choices, ", "), node_.description(),
                       suggestion(node_.text, choices)));
      return;
    }
    at(config_) = node_.text;
  }

  void operator()(std::optional<std::int64_t>& (*at)(Config&)) {
    if (node_.is_none()) {
      at(config_).reset();
    } else {
      store(integer_of<std::int64_t>(node_, field_.range), at(config_));
    }
  }

  void operator()(std::optional<PWarmup>& (*at)(Config&)) {
    if (node_.is_none()) {
      at(config_).reset();
      return;
    }
    PWarmup warmup;
    const Range from_range{.minimum = 0, .maximum = 1, .minimum_open = true};
    const Range steps_range{.minimum = 1, .maximum = 1e12};
    const bool read = for_members(
        node_, "a map {from, steps} or none", {"from", "steps"},
        [&](const std::string& name, const Node& value) {
          if (name == "from") {
            store(number_of(value, from_range), warmup.from, value, "from");
          } else {
            store(integer_of<std::int64_t>(value, steps_range), warmup.steps, value, "steps");
          }
        });
    if (read) at(config_) = warmup;
  }

  void operator()(std::vector<std::int64_t>& (*at)(Config&)) {
    assign_list(at(config_),
                [this](const Node& item) { return integer_of<std::int64_t>(item, field_.range); });
  }
  void operator()(std::vector<double>& (*at)(Config&)) {
    assign_list(at(config_), [this](const Node& item) { return number_of(item, field_.range); });
  }

  void operator()(std::vector<BlendItem>& (*at)(Config&)) {
    if (node_.kind != Node::Kind::kList) {
      fail(fmt::format("expected a list of {{path, weight}}, got {}", node_.description()));
      return;
    }
    std::vector<BlendItem> items;
    for (const Node& item : node_.items) {
      BlendItem blend;
      for_members(item, "a map {path, weight}", {"path", "weight"},
                  [&](const std::string& name, const Node& value) {
                    if (name == "weight") {
                      store(number_of(value, {.minimum = 0, .minimum_open = true}), blend.weight,
                            value, "weight");
                    } else if (value.kind == Node::Kind::kScalar) {
                      blend.path = value.text;
                    }
                  });
      if (blend.path.empty()) fail("every item needs a path", item.position);
      if (blend.path.find('\0') != std::string::npos) {
        fail(fmt::format("expected plain text, got '{}'", printable_line(blend.path)),
             item.position);
      }
      items.push_back(std::move(blend));
    }
    if (problems_.empty()) at(config_) = std::move(items);
  }

  // The layers' options are fields of their own; only the shape is checked here.
  void operator()(std::map<std::int64_t, RouterConfig>& (*)(Config&)) {
    if (node_.kind != Node::Kind::kMap && node_.kind != Node::Kind::kNull) {
      fail(fmt::format("expected a map from layer to router options, got {}", node_.description()));
    }
  }

 private:
  void fail(std::string message) { fail(std::move(message), node_.position); }
  void fail(std::string message, const Position& position) {
    problems_.push_back({position, std::move(message)});
  }

  template <typename Value, typename Target>
  void store(Parsed<Value> parsed, Target& target) {
    store(std::move(parsed), target, node_, "");
  }
  template <typename Value, typename Target>
  void store(Parsed<Value> parsed, Target& target, const Node& node, std::string_view member) {
    if (parsed.value) {
      target = *parsed.value;
    } else {
      fail(fmt::format("{}{}{}", member, member.empty() ? "" : " ", parsed.problem), node.position);
    }
  }

  template <typename Value, typename Parse>
  void assign_list(std::vector<Value>& target, const Parse& parse) {
    if (node_.kind != Node::Kind::kList) {
      fail(fmt::format("expected a {}, got {}", field_.type_name(), node_.description()));
      return;
    }
    std::vector<Value> values;
    for (const Node& item : node_.items) {
      const Parsed<Value> parsed = parse(item);
      if (parsed.value) {
        values.push_back(*parsed.value);
      } else {
        fail(fmt::format("item {} {}", values.size() + problems_.size() + 1, parsed.problem),
             item.position);
      }
    }
    if (problems_.empty()) target = std::move(values);
  }

  // Calls `store` for every known member of a map. False, with problems, when something is wrong.
  template <typename Store>
  bool for_members(const Node& map, std::string_view expected,
                   const std::vector<std::string>& names, const Store& store_member) {
    if (map.kind != Node::Kind::kMap) {
      fail(fmt::format("expected {}, got {}", expected, map.description()), map.position);
      return false;
    }
    for (const Node& entry : map.items) {
      if (std::find(names.begin(), names.end(), entry.key) == names.end()) {
        fail(fmt::format("unknown key '{}'{}", printable(entry.key), suggestion(entry.key, names)),
             entry.key_position);
      } else {
        store_member(entry.key, entry);
      }
    }
    return problems_.empty();
  }

  const Field& field_;
  const Node& node_;
  Config& config_;
  std::vector<ValueProblem> problems_;
};

// Shortest text that reads back as the same double.
std::string number_to_yaml(double value) {
  return fmt::format("{}", value);
}

struct ToYaml {
  std::string operator()(bool value) const { return value ? "true" : "false"; }
  std::string operator()(std::int64_t value) const { return fmt::format("{}", value); }
  std::string operator()(std::uint64_t value) const { return fmt::format("{}", value); }
  std::string operator()(double value) const { return number_to_yaml(value); }
  std::string operator()(const std::string& value) const { return text_to_yaml(value); }
  std::string operator()(const std::optional<std::int64_t>& value) const {
    return value ? fmt::format("{}", *value) : "none";
  }
  std::string operator()(const std::optional<PWarmup>& value) const {
    if (!value) return "none";
    return fmt::format("{{from: {}, steps: {}}}", number_to_yaml(value->from), value->steps);
  }
  template <typename Value>
  std::string operator()(const std::vector<Value>& values) const {
    std::vector<std::string> parts;
    parts.reserve(values.size());
    for (const Value& value : values) parts.push_back((*this)(value));
    return fmt::format("[{}]", join(parts, ", "));
  }
  std::string operator()(const BlendItem& value) const {
    return fmt::format("{{path: {}, weight: {}}}", text_to_yaml(value.path),
                       number_to_yaml(value.weight));
  }
  std::string operator()(const std::map<std::int64_t, RouterConfig>& /*layers*/) const {
    return "{}";  // written as a nested map where it is not empty
  }
};

// invalid_argument for what is no number.
std::pair<double, std::errc> read_number(std::string_view text) {
  constexpr std::pair kNone{0.0, std::errc::invalid_argument};
  if (text.starts_with("+-") || text.starts_with("++")) return kNone;
  if (text.starts_with('+')) text.remove_prefix(1);
  const std::string_view digits = text.starts_with('-') ? text.substr(1) : text;
  // from_chars also reads "inf" and "nan".
  if (digits.empty() || digits.find_first_not_of("0123456789.eE+-") != std::string_view::npos) {
    return kNone;
  }
  double value = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (rest != text.data() + text.size()) return kNone;
  return {value, error};
}

}  // namespace

std::vector<ValueProblem> assign(const Field& field, const Node& node, Config& config) {
  Assigner assigner(field, node, config);
  std::visit(assigner, field.access_in(config));
  return assigner.take_problems();
}

std::string value_text(const Field& field, const Config& config) {
  Config& mutable_config = const_cast<Config&>(config);  // the accessors only return a reference
  return std::visit([&](const auto& at) { return ToYaml{}(std::as_const(at(mutable_config))); },
                    field.access_in(config));
}

std::optional<std::int64_t> parse_integer(std::string_view text) {
  if (text.starts_with("+-")) return std::nullopt;
  if (text.starts_with('+')) text.remove_prefix(1);
  const std::string_view digits = text.starts_with('-') ? text.substr(1) : text;
  if (digits.empty() || !(digits[0] >= '0' && digits[0] <= '9')) return std::nullopt;
  if (digits.size() > 1 && digits[0] == '0') return std::nullopt;  // octal or decimal?
  std::int64_t value = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc() && rest == text.data() + text.size()) return value;
  if (text.find_first_of("eE") == std::string_view::npos) return std::nullopt;
  constexpr double kExact = 9007199254740992.0;  // 2^53
  const auto number = parse_number(text);
  if (!number || std::trunc(*number) != *number || std::abs(*number) > kExact) return std::nullopt;
  return static_cast<std::int64_t>(*number);
}

std::optional<double> parse_number(std::string_view text) {
  const auto [value, error] = read_number(text);
  if (error != std::errc()) return std::nullopt;
  return value + 0.0;  // -0.0 becomes 0.0
}

std::string why_no_number(std::string_view text) {
  return read_number(text).second == std::errc::result_out_of_range
             ? " (too large or too small for 64 bits)"
             : "";
}

std::string why_no_integer(std::string_view text) {
  const auto [value, error] = read_number(text);
  const bool is_number = error == std::errc() || error == std::errc::result_out_of_range;
  const bool is_large = error == std::errc::result_out_of_range || std::abs(value) >= 0x1p53;
  if (!is_number || !is_large) return {};
  return " (integers have 64 bits; those beyond 2^53 are written in digits)";
}

std::string suggestion(std::string_view name, const std::vector<std::string>& candidates) {
  std::string nearest(value_called_elsewhere(name));
  if (std::find(candidates.begin(), candidates.end(), nearest) == candidates.end()) {
    nearest = nearest_name(name, candidates);
  }
  if (nearest.empty()) nearest = abbreviated_name(name, candidates);
  return nearest.empty() ? std::string() : fmt::format(" (did you mean '{}'?)", nearest);
}

std::string text_to_yaml(const std::string& text) {
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-";
  constexpr std::array<std::string_view, 6> kWords = {"null", "Null", "NULL",
                                                      "none", "true", "false"};
  const bool letter_first = !text.empty() && std::isalpha(static_cast<unsigned char>(text[0])) != 0;
  const bool plain = (letter_first || text.starts_with('/')) &&
                     text.find_first_not_of(kPlain) == std::string::npos &&
                     std::find(kWords.begin(), kWords.end(), text) == kWords.end();
  if (plain) return text;
  // JSON strings are YAML strings.
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace switchyard::config
