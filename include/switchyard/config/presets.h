// Named models: `model.preset: NAME` fills the model's fields as the lowest layer above defaults.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "switchyard/config/config.h"

namespace switchyard::config {

struct Preset {
  std::string_view name;
  std::string_view summary;
  std::string_view yaml;  // a `model:` group
};

[[nodiscard]] std::span<const Preset> all_presets();
// nullptr when there is none of this name.
[[nodiscard]] const Preset* find_preset(std::string_view name);
// A preset as a resolved model, without a run around it. Throws UsageError listing the known names.
[[nodiscard]] ModelConfig load_model_preset(std::string_view name);

}  // namespace switchyard::config
