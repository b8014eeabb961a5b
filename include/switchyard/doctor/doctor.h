// `switchyard doctor`: is this machine fit to train on, and what would make it fitter? Gathering
// facts and judging them are two functions, so that the judgement is tested on machines that are
// not at hand.
#pragma once

#include <string>
#include <vector>

#include "switchyard/doctor/facts.h"

namespace switchyard::doctor {

enum class Verdict {
  kOk,
  kNote,     // worth knowing; nothing to do unless the feature is wanted
  kWarning,  // training works, but worse than it could
  kFailure,  // training does not work
};
[[nodiscard]] const char* verdict_name(Verdict verdict);  // "ok", "note", "warn", "fail"

struct DoctorLine {
  std::string topic;  // "cpu", "precision": stable, one line each
  Verdict verdict = Verdict::kOk;
  std::string finding{};
  std::string advice{};  // what to do; empty when there is nothing
  int exit_code = 0;     // of a failure
};

struct Diagnosis {
  std::vector<DoctorLine> lines;
  std::string precision;  // recommended train.precision on this CPU

  // 0 when the machine is usable, else that of the first failure.
  [[nodiscard]] int exit_code() const;
};

[[nodiscard]] Diagnosis diagnose(const DoctorFacts& facts);

}  // namespace switchyard::doctor
