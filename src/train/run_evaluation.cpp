#include "train/run_evaluation.h"

#include <chrono>
#include <cstdint>

#include "switchyard/core/terminal.h"
#include "switchyard/core/timing.h"

namespace switchyard::train {

std::optional<telemetry::EvaluationRecord> run_evaluation(const Evaluate& evaluate,
                                                          EvaluationOptions options,
                                                          bool is_shown) {
  const auto start = std::chrono::steady_clock::now();
  std::optional<ProgressBar> bar;
  std::int64_t last = 0;
  if (is_shown && stderr_is_terminal()) {
    options.progress = [&bar, &last](std::int64_t done, std::int64_t total) {
      const bool is_next_pass = done <= last;
      if (!bar.has_value() || is_next_pass) {
        bar.emplace("evaluating", static_cast<std::uint64_t>(total));
      }
      last = done;
      bar->advance_to(static_cast<std::uint64_t>(done));
    };
  }
  std::optional<telemetry::EvaluationRecord> record = evaluate(options);
  if (record.has_value()) {
    record->step = options.step;
    record->seconds = seconds_since(start);
  }
  return record;
}

}  // namespace switchyard::train
