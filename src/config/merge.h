// Sources merged into one setting per field, with the options that a later source made meaningless
// dropped.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "config/yaml/source.h"

namespace switchyard::config {

struct Merged {
  std::map<std::string, Setting> settings;  // by key
  std::vector<std::string> dropped;         // one line each
  std::set<std::string> bad_keys;           // set to something wrong in some source

  [[nodiscard]] bool is_set(const std::string& key) const { return settings.contains(key); }
  // Router type of the model, or of one layer.
  [[nodiscard]] std::string router_type(std::optional<std::int64_t> layer = std::nullopt) const;
};

// `sources`: lowest first. Puts the preset that they name below them.
[[nodiscard]] Merged merge(std::vector<Source> sources, Problems& problems);

// model.moe.router.per_layer.<layer>.<option>, or the model's own key for no layer.
[[nodiscard]] std::string router_key(std::string_view option, std::optional<std::int64_t> layer);

}  // namespace switchyard::config
