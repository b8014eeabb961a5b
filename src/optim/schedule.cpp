#include "switchyard/optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "switchyard/core/error.h"

namespace switchyard::optim {

Schedule::Schedule(const config::ScheduleConfig& config, double peak_learning_rate,
                   std::int64_t train_steps)
    : shape_(shape_of(config.type)),
      peak_(peak_learning_rate),
      final_(peak_learning_rate * config.final_ratio),
      steps_(config.steps > 0 ? config.steps : train_steps),
      warmup_steps_(config.warmup_steps),
      decay_steps_(config.decay_steps > 0 ? config.decay_steps
                                          : std::max<std::int64_t>(1, steps_ / 10)) {
  const std::int64_t decay = shape_ == Shape::warmup_stable_decay ? decay_steps_ : 0;
  if (warmup_steps_ + decay > steps_) {
    throw UsageError(
        fmt::format("schedule.warmup_steps ({}){} is longer than the schedule's {} steps",
                    warmup_steps_, decay > 0 ? fmt::format(" plus decay_steps ({})", decay) : "",
                    steps_),
        "shorten schedule.warmup_steps or set schedule.steps");
  }
}

Schedule::Shape Schedule::shape_of(const std::string& type) {
  if (type == "cosine") return Shape::cosine;
  if (type == "linear") return Shape::linear;
  if (type == "warmup_stable_decay") return Shape::warmup_stable_decay;
  if (type == "constant") return Shape::constant;
  throw UsageError(fmt::format("unknown schedule.type '{}'", type),
                   "known: cosine, linear, warmup_stable_decay, constant");
}

double Schedule::learning_rate(std::int64_t step) const {
  if (step < warmup_steps_) {
    return peak_ * static_cast<double>(step) / static_cast<double>(warmup_steps_);
  }
  if (shape_ == Shape::constant) return peak_;
  const std::int64_t start =
      shape_ == Shape::warmup_stable_decay ? steps_ - decay_steps_ : warmup_steps_;
  const std::int64_t length = steps_ - start;
  const double done =
      length <= 0
          ? 1.0
          : std::clamp(static_cast<double>(step - start) / static_cast<double>(length), 0.0, 1.0);
  if (shape_ == Shape::cosine) {
    return final_ + (peak_ - final_) * 0.5 * (1.0 + std::cos(std::numbers::pi * done));
  }
  return peak_ + (final_ - peak_) * done;
}

}  // namespace switchyard::optim
