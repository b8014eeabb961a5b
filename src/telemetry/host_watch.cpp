#include "switchyard/telemetry/host_watch.h"

#include <fmt/format.h>

namespace switchyard::telemetry {

std::optional<std::string> HostWatch::add(double wall_seconds, double waiting_seconds) {
  if (told_) return std::nullopt;
  wall_seconds_ += wall_seconds;
  waiting_seconds_ += waiting_seconds;
  if (++num_steps_ < kFewestSteps || wall_seconds_ < kFewestSeconds) return std::nullopt;
  const double share = waiting_seconds_ / wall_seconds_;
  num_steps_ = 0;
  wall_seconds_ = 0.0;
  waiting_seconds_ = 0.0;
  if (share <= kBusyAbove) return std::nullopt;
  told_ = true;
  std::string advice = "end them, or give this training more of the machine (nice, taskset)";
  if (num_threads_ > 1) {
    advice += fmt::format("; fewer threads than now ({}) lose less of it: OMP_NUM_THREADS={}",
                          num_threads_, num_threads_ / 2);
  }
  return fmt::format(
      "other processes take the cores: training waited for one {:.0f}% of the time; {}",
      100.0 * share, advice);
}

}  // namespace switchyard::telemetry
