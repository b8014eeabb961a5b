// The one table of config fields. Parsing, validation, `--help`, `config reference`, docs/config.md
// and the resolved config are all driven by it: a new field is one member in config.h and one row.
// Rows of router options come from the routers' descriptors (config/router.h).
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "switchyard/config/config.h"

namespace switchyard::config {

// Where a field lives in Config; the alternative also is the field's type.
using Access =
    std::variant<bool& (*)(Config&), std::int64_t& (*)(Config&), std::uint64_t& (*)(Config&),
                 double& (*)(Config&), std::string& (*)(Config&),
                 std::optional<std::int64_t>& (*)(Config&), std::optional<PWarmup>& (*)(Config&),
                 std::vector<std::int64_t>& (*)(Config&), std::vector<double>& (*)(Config&),
                 std::vector<BlendItem>& (*)(Config&),
                 std::map<std::int64_t, RouterConfig>& (*)(Config&)>;

enum class DefaultKind {
  kValue,     // default_text is the value, written as in YAML
  kRequired,  // must be set
  kDepends,   // computed from other fields; default_text says how
};

// Allowed numbers, for lists the allowed elements.
struct Range {
  double minimum = -std::numeric_limits<double>::infinity();
  double maximum = std::numeric_limits<double>::infinity();
  bool minimum_open = false;  // the minimum itself is not allowed
  bool maximum_open = false;

  [[nodiscard]] bool contains(double value) const;
  // "in (0, 1]", ">= 0"; empty for any number.
  [[nodiscard]] std::string text() const;
  bool operator==(const Range&) const = default;
};

struct Field {
  std::string key;  // "model.moe.router.p"
  Access access{};
  DefaultKind default_kind = DefaultKind::kValue;
  std::string default_text{};
  Range range{};
  std::vector<std::string> choices{};
  std::string unit{};           // every number has one
  std::string help{};           // one line
  bool free_on_resume = false;  // a resumed run may change it without being asked
  // Router options: the types that know it, each with where it is in a config of that type
  // (`access` is the first's). Empty: no router option.
  std::vector<std::string> router_types{};
  std::vector<Access> access_of_type{};
  // Router options that say the same in another way: of the model's, one that an earlier source has
  // set is dropped where this one is set and is not switched off.
  std::vector<std::string> displaces{};

  [[nodiscard]] std::string type_name() const;  // "integer", "list of numbers", ...
  // Where it is in this config. InternalError for an option that the config's router lacks.
  [[nodiscard]] const Access& access_in(const Config& config) const;
  [[nodiscard]] bool known_to(std::string_view router_type) const;
};

// All fields in the order of the documentation.
[[nodiscard]] std::span<const Field> all_fields();
// The field with this dotted key, or nullptr.
[[nodiscard]] const Field* find_field(std::string_view key);
// Dotted key of a group of fields ("model.moe")?
[[nodiscard]] bool is_group(std::string_view key);
// Names directly under a group, in table order ("" = top level).
[[nodiscard]] std::vector<std::string> names_in_group(std::string_view group);
// Names of router_descriptors(), in their order.
[[nodiscard]] std::vector<std::string> router_types();

inline constexpr std::string_view kRouterPrefix = "model.moe.router.";
inline constexpr std::string_view kRouterTypeKey = "model.moe.router.type";
inline constexpr std::string_view kPerLayerKey = "model.moe.router.per_layer";

}  // namespace switchyard::config
