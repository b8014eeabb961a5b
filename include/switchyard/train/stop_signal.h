// SIGINT, SIGTERM and SIGUSR1 ask for a stop that loses nothing: the step is finished and saved.
#pragma once

#include <string>

namespace switchyard::train {

// While one lives, the first of these signals only sets a flag; the second ends the process at
// once. The handlers from before come back at the end. One at a time.
class StopSignal {
 public:
  StopSignal();
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  [[nodiscard]] bool requested() const;
  // "SIGTERM"; empty when none came.
  [[nodiscard]] std::string name() const;
};

}  // namespace switchyard::train
