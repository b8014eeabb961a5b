// What people are told of a step when something is wrong with it.
#pragma once

#include <cstdint>
#include <optional>

#include "switchyard/config/config.h"
#include "switchyard/telemetry/expert_watch.h"
#include "switchyard/telemetry/host_watch.h"
#include "switchyard/telemetry/router_watch.h"
#include "switchyard/telemetry/step_statistics.h"

namespace switchyard::train {

class StepWarnings {
 public:
  // `config` must outlive this. Of several ranks the waits are for each other, not for the machine.
  StepWarnings(const config::Config& config, std::int64_t num_ranks);

  // By the thread that computes the step, before it begins.
  void begin_step();
  // After it, by the same thread; `num_skipped_in_a_row` with this one.
  void tell(const telemetry::StepSums& sums, std::int64_t num_skipped_in_a_row);

 private:
  const config::MoeLossConfig& loss_;
  telemetry::ExpertWatch experts_;
  telemetry::RouterWatch routers_;
  std::optional<telemetry::HostWatch> host_;  // none where it says nothing
  double waited_seconds_ = 0.0;               // for a core, until the beginning of the step
};

}  // namespace switchyard::train
