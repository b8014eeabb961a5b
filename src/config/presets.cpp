#include "switchyard/config/presets.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <vector>

#include "switchyard/config/load.h"
#include "switchyard/core/text.h"

namespace switchyard::config {
namespace {

constexpr std::array<Preset, 3> kPresets = {{
    {.name = "huang-3.5b",
     .summary = "Huang et al., ACL 2024: 24 layers of 16 experts, top_p 0.4, 3.49 B parameters",
     .yaml = R"(
model:
  vocab_size: 32000
  hidden_size: 1024
  num_layers: 24
  num_heads: 16
  head_dim: 64
  tie_embeddings: false
  moe:
    num_experts: 16
    expert_size: 2816
    router: {type: top_p, p: 0.4}
)"},
    {.name = "huang-3.5b-every2",
     .summary =
         "the same with experts in every other layer (the released default), 1.93 B parameters",
     .yaml = R"(
model:
  vocab_size: 32000
  hidden_size: 1024
  num_layers: 24
  num_heads: 16
  head_dim: 64
  ffn_size: 2816
  tie_embeddings: false
  moe:
    num_experts: 16
    expert_size: 2816
    every: 2
    router: {type: top_p, p: 0.4}
)"},
    {.name = "tiny",
     .summary = "2 layers of 4 experts, hidden 32: seconds on a CPU, for tests",
     .yaml = R"(
model:
  hidden_size: 32
  num_layers: 2
  num_heads: 2
  ffn_size: 64
  moe:
    num_experts: 4
    expert_size: 32
    router: {type: top_p, p: 0.4}
)"},
}};

}  // namespace

std::span<const Preset> all_presets() {
  return kPresets;
}

const Preset* find_preset(std::string_view name) {
  const auto* found = std::find_if(kPresets.begin(), kPresets.end(),
                                   [name](const Preset& preset) { return preset.name == name; });
  return found == kPresets.end() ? nullptr : found;
}

ModelConfig load_model_preset(std::string_view name) {
  if (find_preset(name) == nullptr) {
    std::vector<std::string> names;
    names.reserve(kPresets.size());
    for (const Preset& preset : kPresets) names.emplace_back(preset.name);
    throw UsageError(fmt::format("no model preset '{}'", name),
                     fmt::format("presets: {}", join(names, ", ")));
  }
  const std::vector<std::string> overrides = {fmt::format("model.preset={}", name)};
  return load_model_text("", "preset", overrides);
}

}  // namespace switchyard::config
