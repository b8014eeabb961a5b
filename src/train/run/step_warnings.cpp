#include "train/run/step_warnings.h"

#include <ATen/Parallel.h>

#include <ctime>
#include <string>

#include "switchyard/core/log.h"

namespace switchyard::train {
namespace {

// That this thread has run.
double thread_seconds() {
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

}  // namespace

StepWarnings::StepWarnings(const config::Config& config, std::int64_t num_ranks)
    : loss_(config.model.moe.loss), routers_(config.model) {
  if (config.train.device == "cpu" && num_ranks == 1) host_.emplace(at::get_num_threads());
}

void StepWarnings::begin_step() {
  thread_seconds_ = thread_seconds();
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
  if (const auto busy = host_->add(sums.seconds, thread_seconds() - thread_seconds_)) {
    log::warning("step {}: {}", sums.step, *busy);
  }
}

}  // namespace switchyard::train
