// Loading configs in tests: a minimal valid one, and the problems of a wrong one.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "switchyard/config/load.h"
#include "switchyard/config/routers/attention_importance.h"
#include "switchyard/config/routers/top_k.h"
#include "switchyard/config/routers/top_p.h"

namespace switchyard::config {

using Overrides = std::vector<std::string>;

// 13 lines; what a test adds starts on line 14.
inline constexpr std::string_view kMinimal = R"(run:
  dir: runs/x
data:
  path: data/x
train:
  steps: 100
model:
  hidden_size: 64
  num_layers: 4
  num_heads: 4
  ffn_size: 128
  moe:
    num_experts: 8
    expert_size: 32
)";

// kMinimal with more lines in `model.moe`, which is open at its end.
inline std::string minimal_with(std::string_view more) {
  return std::string(kMinimal) + std::string(more);
}

inline Resolved load_minimal(const Overrides& overrides = {}, std::string_view more = "") {
  return load_text(minimal_with(more), "x.yaml", overrides);
}

// All problems, or none when the text loads.
inline std::vector<std::string> problems_of(std::string_view yaml,
                                            const Overrides& overrides = {}) {
  try {
    (void)load_text(yaml, "x.yaml", overrides);
  } catch (const ConfigError& error) {
    return error.problems();
  }
  return {};
}

inline std::vector<std::string> problems_of_minimal(const Overrides& overrides,
                                                    std::string_view more = "") {
  return problems_of(minimal_with(more), overrides);
}

// The options of a router of that type.
inline const TopKOptions& top_k(const RouterConfig& router) {
  return router.options.as<TopKOptions>();
}
inline const TopPOptions& top_p(const RouterConfig& router) {
  return router.options.as<TopPOptions>();
}
inline const AttentionImportanceOptions& attention_importance(const RouterConfig& router) {
  return router.options.as<AttentionImportanceOptions>();
}

}  // namespace switchyard::config
