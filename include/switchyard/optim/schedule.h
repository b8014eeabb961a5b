// The learning rate as a pure function of the step number, so that nothing but the step is saved.
#pragma once

#include <cstdint>
#include <string>

#include "switchyard/config/config.h"

namespace switchyard::optim {

// Steps count from 1. Warm-up is linear: step s of W gets peak * s / W. After it, with
// d = (s - W) / (steps - W) in [0, 1] and final = peak * final_ratio:
//   cosine               final + (peak - final) * (1 + cos(pi d)) / 2
//   linear               peak + (final - peak) * d
//   warmup_stable_decay  peak, then linear to `final` over the last decay_steps
//                        (0: a tenth of the steps, at least 1)
//   constant             peak
// Past `steps` the rate stays at its last value.
class Schedule {
 public:
  // schedule.steps = 0 means train_steps. Throws UsageError for an unknown type or a warm-up and
  // decay that together are longer than the schedule.
  Schedule(const config::ScheduleConfig& config, double peak_learning_rate,
           std::int64_t train_steps);

  [[nodiscard]] double learning_rate(std::int64_t step) const;
  [[nodiscard]] std::int64_t steps() const { return steps_; }

 private:
  enum class Shape { cosine, linear, warmup_stable_decay, constant };
  [[nodiscard]] static Shape shape_of(const std::string& type);

  Shape shape_;
  double peak_;
  double final_;
  std::int64_t steps_;
  std::int64_t warmup_steps_;
  std::int64_t decay_steps_;
};

}  // namespace switchyard::optim
