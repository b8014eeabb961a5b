#include "train/run/side_progress.h"

#include <bit>
#include <filesystem>

#include "switchyard/checkpoint/checkpoint.h"
#include "switchyard/core/log.h"
#include "switchyard/telemetry/read_metrics.h"

namespace switchyard::train {

std::string SideProgress::judge(std::int64_t step, double loss, bool is_negated) {
  const telemetry::BestState before = best.state();
  std::string verdict = best.judge(step, loss, is_negated);
  if (best.state().step == step) before_ = before;
  return verdict;
}

void SideProgress::best_is_lost(std::int64_t step) {
  if (best.state().step != step) return;
  best.restore(before_);
  if (evaluated_step == step) evaluated_step = 0;  // where a stop saves it yet, a resume judges it
}

void SideProgress::restore(const TrainingState& state, bool comparable) {
  evaluated_step = state.evaluated_step;
  sampled_step = state.sampled_step;
  if (comparable) best.restore(state.best);
  before_ = best.state();
}

void SideProgress::take_from(const RunFolder& folder, std::int64_t step, bool comparable,
                             const Judged& judged) {
  for (const telemetry::EvaluationRecord& record :
       telemetry::read_metrics(folder.metrics_file()).evaluations) {
    if (record.step != step || evaluated_step == step) continue;
    if (comparable) (void)judge(step, judged(record));
    evaluated_step = step;
  }
  if (std::filesystem::exists(folder.sample_file(step))) sampled_step = step;
}

void SideProgress::forget_a_best_that_is_gone(const RunFolder& folder) {
  const telemetry::BestState state = best.state();
  if (!best.has_best()) return;
  if (!checkpoint::find_step(folder.checkpoints(), state.step).empty()) return;
  log::info(
      "the checkpoint of the best evaluation so far, of step {}, is gone: the best starts afresh",
      state.step);
  // A run that was stopped early stays so.
  best.restore({.num_without_improvement = state.num_without_improvement});
  before_ = best.state();
}

void SideProgress::take_from_leader(RunRanks& ranks) {
  constexpr const char* kName = "what was done after the save";
  const auto of_leader = [&](std::int64_t number) { return ranks.of_leader(number, kName); };
  evaluated_step = of_leader(evaluated_step);
  sampled_step = of_leader(sampled_step);
  const auto state_of_leader = [&](telemetry::BestState state) {
    state.loss = std::bit_cast<double>(of_leader(std::bit_cast<std::int64_t>(state.loss)));
    state.step = of_leader(state.step);
    state.num_without_improvement = of_leader(state.num_without_improvement);
    return state;
  };
  best.restore(state_of_leader(best.state()));
  before_ = state_of_leader(before_);
}

}  // namespace switchyard::train
