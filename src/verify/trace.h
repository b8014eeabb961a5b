// What a few steps of training leave behind, gathered from all ranks.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "switchyard/config/config.h"
#include "switchyard/telemetry/step_statistics.h"
#include "switchyard/verify/layouts.h"

namespace switchyard::verify {

// Which experts a token got: (steps before, layer, index of the token in the step's global batch).
using TokenOfLayer = std::tuple<std::int64_t, std::int64_t, std::int64_t>;

struct Trace {
  std::vector<telemetry::StepSums> steps;
  // By step and tensor of a checkpoint, from whichever rank holds it: gradients as the update used
  // them, and what it made of the parameters.
  std::vector<std::map<std::string, at::Tensor>> gradients;
  std::vector<std::map<std::string, at::Tensor>> parameters;
  // By step and name, of every rank: what routers carry from step to step.
  std::vector<std::map<std::string, std::vector<at::Tensor>>> router_state;
  std::map<TokenOfLayer, std::vector<std::int32_t>> experts;  // ascending
};

// `config` as for one rank.
[[nodiscard]] Trace train_in_layout(const config::Config& config, const Layout& layout,
                                    const VerifyOptions& options, bool random_tokens);

}  // namespace switchyard::verify
