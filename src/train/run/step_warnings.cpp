#include "train/run/step_warnings.h"

#include <ATen/Parallel.h>

#include <string>

#include "switchyard/core/host.h"
#include "switchyard/core/log.h"

namespace switchyard::train {
StepWarnings::StepWarnings(const config::Config& config, std::int64_t num_ranks)
    : loss_(config.model.moe.loss), routers_(config.model) {
  if (config.train.device == "cpu" && num_ranks == 1 && seconds_this_thread_waited_for_a_core()) {
    host_.emplace(at::get_num_threads());
  }
}

void StepWarnings::begin_step() {
  if (host_) waited_seconds_ = seconds_this_thread_waited_for_a_core().value_or(0.0);
}

void StepWarnings::tell(const telemetry::StepSums& sums, std::int64_t num_skipped_in_a_row) {
  if (sums.skipped) {
    log::warning("step {}: loss or gradient is not finite: step skipped ({} in a row)", sums.step,
                 num_skipped_in_a_row);
  }
  for (const telemetry::ExpertChange& change : experts_.add(sums)) {
    const auto write = change.is_warning() ? log::write_warning : log::write_info;
    write(fmt::format("step {}: {}", sums.step, change.message(loss_)));
  }
  if (const auto lost = routers_.add(sums)) log::warning("step {}: {}", sums.step, *lost);
  if (!host_) return;
  const double waited = seconds_this_thread_waited_for_a_core().value_or(waited_seconds_);
  if (const auto busy = host_->add(sums.seconds, waited - waited_seconds_)) {
    log::warning("step {}: {}", sums.step, *busy);
  }
}

}  // namespace switchyard::train
