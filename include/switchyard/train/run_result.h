// What a run came to.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "switchyard/telemetry/record.h"

namespace switchyard::train {

struct RunResult {
  std::int64_t num_steps = 0;
  std::int64_t num_tokens = 0;
  std::filesystem::path checkpoint;
  std::optional<telemetry::EvaluationRecord> evaluation;  // at the end
};

}  // namespace switchyard::train
