// SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2 and SIGXCPU ask for a stop that loses nothing: the step
// is finished and saved.
#pragma once

#include <string>

namespace switchyard::train {

// While one lives, the first of these signals only sets a flag; the second ends the process at
// once, but for SIGXCPU and SIGUSR1, which may repeat themselves. A SIGHUP that is ignored already
// stays so, as nohup wants it. The handlers from before come back at the end (but SIGUSR1 is
// ignored from then on where it asked for the stop and nobody handled it). Those that live at the
// same time (ranks as threads) say the same.
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

// From here on a reader of standard output or error that goes away (`| head`, a lost connection)
// makes only the writes to it fail, not the process.
void outlive_closed_output();

}  // namespace switchyard::train
