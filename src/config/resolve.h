// Merged settings into a complete Config: fixed defaults, then those that depend on other fields.
#pragma once

#include <map>
#include <string>

#include "config/merge.h"
#include "switchyard/config/config.h"

namespace switchyard::config {

struct WithOrigins {
  Config config;
  std::map<std::string, std::string> origin_of_key;
};

// Never fails: what is missing keeps the struct's initial value, for validate() to report.
[[nodiscard]] WithOrigins resolve(const Merged& merged);

// The MoE layers that `every` and `first` stand for.
[[nodiscard]] std::vector<std::int64_t> placement(const ModelConfig& model);

}  // namespace switchyard::config
