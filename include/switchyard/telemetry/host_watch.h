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
  static constexpr double kBusyAbove = 0.3;

  explicit HostWatch(int num_threads) : num_threads_(num_threads) {}

  // A step took `wall_seconds`, in which the thread that computes it could have run but waited for
  // a core for `waiting_seconds` (core/host.h). For people, at the end of the first window in which
  // that was more than 30 %.
  [[nodiscard]] std::optional<std::string> add(double wall_seconds, double waiting_seconds);

 private:
  int num_threads_;
  std::int64_t num_steps_ = 0;
  double wall_seconds_ = 0.0;  // of the window
  double waiting_seconds_ = 0.0;
  bool told_ = false;
};

}  // namespace switchyard::telemetry
