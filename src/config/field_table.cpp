#include "switchyard/config/field_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "config/fields/fields.h"
#include "switchyard/config/router.h"
#include "switchyard/core/error.h"

namespace switchyard::config {
namespace {

std::vector<Field> build_table() {
  std::vector<Field> table;
  for (std::vector<Field> (*rows)() : {&run_and_data_fields, &model_fields, &moe_fields,
                                       &router_fields, &router_loss_fields, &training_fields}) {
    for (Field& row : rows()) table.push_back(std::move(row));
  }
  return table;
}

const std::vector<Field>& table() {
  static const std::vector<Field> rows = build_table();
  return rows;
}

// Whole numbers without an exponent: "65536", not "6.5536e+04".
std::string number_text(double value) {
  return fmt::format("{}", value);
}

struct TypeName {
  std::string operator()(bool& (*)(Config&)) const { return "boolean"; }
  std::string operator()(std::int64_t& (*)(Config&)) const { return "integer"; }
  std::string operator()(std::uint64_t& (*)(Config&)) const { return "integer"; }
  std::string operator()(double& (*)(Config&)) const { return "number"; }
  std::string operator()(std::string& (*)(Config&)) const { return "text"; }
  std::string operator()(std::optional<std::int64_t>& (*)(Config&)) const {
    return "integer or none";
  }
  std::string operator()(std::optional<PWarmup>& (*)(Config&)) const { return "map or none"; }
  std::string operator()(std::vector<std::int64_t>& (*)(Config&)) const {
    return "list of integers";
  }
  std::string operator()(std::vector<double>& (*)(Config&)) const { return "list of numbers"; }
  std::string operator()(std::vector<BlendItem>& (*)(Config&)) const { return "list of maps"; }
  std::string operator()(std::map<std::int64_t, RouterConfig>& (*)(Config&)) const {
    return "map of layers";
  }
};

}  // namespace

bool Range::contains(double value) const {
  if (std::isnan(value)) return false;
  const bool above_minimum = minimum_open ? value > minimum : value >= minimum;
  const bool below_maximum = maximum_open ? value < maximum : value <= maximum;
  return above_minimum && below_maximum;
}

std::string Range::text() const {
  const bool has_minimum = std::isfinite(minimum);
  const bool has_maximum = std::isfinite(maximum);
  if (has_minimum && has_maximum) {
    return fmt::format("in {}{}, {}{}", minimum_open ? '(' : '[', number_text(minimum),
                       number_text(maximum), maximum_open ? ')' : ']');
  }
  if (has_minimum) return fmt::format("{} {}", minimum_open ? ">" : ">=", number_text(minimum));
  if (has_maximum) return fmt::format("{} {}", maximum_open ? "<" : "<=", number_text(maximum));
  return {};
}

std::string Field::type_name() const {
  return std::visit(TypeName{}, access);
}

bool Field::known_to(std::string_view router_type) const {
  return router_types.empty() ||
         std::find(router_types.begin(), router_types.end(), router_type) != router_types.end();
}

const Access& Field::access_in(const Config& config) const {
  if (router_types.empty()) return access;
  const std::string& type = config.model.moe.router.type;
  const auto found = std::find(router_types.begin(), router_types.end(), type);
  SWITCHYARD_CHECK(found != router_types.end(), "router {} has no option {}", type, key);
  return access_of_type.at(static_cast<std::size_t>(found - router_types.begin()));
}

std::span<const Field> all_fields() {
  return table();
}

const Field* find_field(std::string_view key) {
  static const std::unordered_map<std::string_view, const Field*> by_key = [] {
    std::unordered_map<std::string_view, const Field*> map;
    for (const Field& row : table()) map.emplace(row.key, &row);
    return map;
  }();
  const auto found = by_key.find(key);
  return found == by_key.end() ? nullptr : found->second;
}

bool is_group(std::string_view key) {
  return std::any_of(table().begin(), table().end(), [key](const Field& row) {
    return row.key.size() > key.size() && row.key.starts_with(key) && row.key[key.size()] == '.';
  });
}

std::vector<std::string> names_in_group(std::string_view group) {
  const std::string prefix = group.empty() ? std::string() : std::string(group) + ".";
  std::vector<std::string> names;
  for (const Field& row : table()) {
    if (!row.key.starts_with(prefix)) continue;
    const std::string rest = row.key.substr(prefix.size());
    std::string name = rest.substr(0, rest.find('.'));
    if (std::find(names.begin(), names.end(), name) == names.end())
      names.push_back(std::move(name));
  }
  return names;
}

std::vector<std::string> router_types() {
  std::vector<std::string> names;
  for (const RouterDescriptor* router : router_descriptors()) names.push_back(router->name);
  return names;
}

}  // namespace switchyard::config
