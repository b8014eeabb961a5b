// Tells once when other processes take the cores that a training on a CPU computes with.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace switchyard::telemetry {

class HostWatch {
 public:
  static constexpr std::int64_t kFewestSteps = 20;
  static constexpr double kFewestSeconds = 10.0;
  static constexpr double kBusyBelow = 0.6;

  explicit HostWatch(int num_threads) : num_threads_(num_threads) {}

  // A step took `wall_seconds`, of which the thread that computes it ran for `thread_seconds`. For
  // people, at the end of the first window in which that was less than 60 %: the thread computes
  // all the time, or waits a moment for threads that do, so it was kept waiting for a core.
  [[nodiscard]] std::optional<std::string> add(double wall_seconds, double thread_seconds);

 private:
  int num_threads_;
  std::int64_t num_steps_ = 0;
  double wall_seconds_ = 0.0;  // of the window
  double thread_seconds_ = 0.0;
  bool told_ = false;
};

}  // namespace switchyard::telemetry
