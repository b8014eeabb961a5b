// What a person reads while a run trains: one aligned line per record, redrawn in place where that
// works, and lines about evaluations.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "switchyard/telemetry/record.h"

namespace switchyard::telemetry {

struct Progress {
  std::int64_t total_steps = 0;
  double eta_seconds = 0.0;
  std::string_view loss_name = "lm";  // of the task
  bool mfu_of_data_sheet = false;     // else of a measured product
};

// step  400/2000  20% | loss  3.412 lm  3.388 bal 0.021 dyn 0.0001 | lr 3.0e-04 gnorm  0.71 |
//  5.1k tok/s mfu  38% mem  1.2G | k 1.83 [1-6] H 0.87 vio 0.42 dead   0% | skip 0 | eta 12m
// on one line; the share of a data sheet's peak reads "mfu  38% of spec". bal, dyn (and z where it
// is used) are the weighted losses, so that they and lm add up to loss; a model without MoE layers
// has neither them nor the part about k.
[[nodiscard]] std::string format_step_line(const StepRecord& record, const Progress& progress);

// Shows step lines on standard error (in place on a terminal that is wide enough, else one below
// the other) and writes every one to the run's log.
class StepLinePrinter {
 public:
  StepLinePrinter();
  void print(const std::string& line);

 private:
  bool in_place_;
};

struct BestState {
  double loss = 0.0;
  std::int64_t step = -1;                    // -1 = none yet
  std::int64_t num_without_improvement = 0;  // evaluations since
};

// Compares evaluations of one split over a run.
class BestTracker {
 public:
  // "new best", or "no improvement for 3 evaluations (best 4.78 at step 800)". A loss that is not
  // finite is never the best. `is_negated`: the losses are scores with the other sign, and people
  // are shown the scores.
  [[nodiscard]] std::string judge(std::int64_t step, double loss, bool is_negated = false);
  [[nodiscard]] bool has_best() const { return state_.step >= 0; }
  [[nodiscard]] double best() const { return state_.loss; }
  [[nodiscard]] const BestState& state() const { return state_; }
  void restore(const BestState& state) { state_ = state; }

 private:
  BestState state_;
};

// step 400 validation: loss 3.402 perplexity 30.02 bits per byte 1.62 k 1.80 | new best
// With a tokenizer that loses bytes it says so instead of bits per byte.
[[nodiscard]] std::string format_evaluation_line(const EvaluationRecord& record,
                                                 const std::string& verdict);

}  // namespace switchyard::telemetry
