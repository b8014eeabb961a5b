// Everything besides tensors that a run needs to go on as if it had never stopped; a JSON file in
// every checkpoint.
#pragma once

#include <cstdint>
#include <string>

#include "switchyard/telemetry/step_line.h"
#include "switchyard/telemetry/step_statistics.h"
#include "switchyard/train/trainer.h"

namespace switchyard::train {

struct TrainingState {
  TrainerState trainer = {};
  telemetry::RunTotals totals = {};
  telemetry::BestState best = {};
  std::int64_t evaluated_step = 0;  // the last one; 0 = none
  std::int64_t sampled_step = 0;
  std::string data_fingerprint = {};
};

[[nodiscard]] std::string to_json(const TrainingState& state);
// `source` names the file in messages. Throws DataError.
[[nodiscard]] TrainingState parse_training_state(const std::string& json,
                                                 const std::string& source);

}  // namespace switchyard::train
