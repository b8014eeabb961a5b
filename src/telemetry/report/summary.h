// The few sentences and figures that a page begins with.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "switchyard/telemetry/read_metrics.h"
#include "telemetry/report/run_files.h"

namespace switchyard::telemetry {

struct Sentence {
  enum class Tone { kPlain, kGood, kBad };
  std::string text;
  Tone tone = Tone::kPlain;
};

// Is it learning, how good is it, what do the experts do, how fast is it.
[[nodiscard]] std::vector<Sentence> summarize(const Metrics& metrics);

struct Figure {
  std::string label;
  std::string value;
  std::string detail = {};
};

// The newest numbers at a glance.
[[nodiscard]] std::vector<Figure> key_figures(const Metrics& metrics);

// Experts without a token in the newest window: "layer 3 expert 5".
[[nodiscard]] std::vector<std::string> dead_experts(const StepRecord& record);
[[nodiscard]] std::int64_t num_experts(const StepRecord& record);  // over all layers

// Time spent in training steps; logging, evaluations and saving not counted.
[[nodiscard]] double training_seconds(const Metrics& metrics);

}  // namespace switchyard::telemetry
