// The verbs that look at a machine or at runs without changing anything.
#pragma once

#include "switchyard/config/options.h"

namespace switchyard::config {

[[nodiscard]] VerbSpec evaluate_verb();
[[nodiscard]] VerbSpec generate_verb();
[[nodiscard]] VerbSpec report_verb();
[[nodiscard]] VerbSpec compare_verb();
[[nodiscard]] VerbSpec doctor_verb();

}  // namespace switchyard::config
