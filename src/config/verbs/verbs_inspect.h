// The verbs that look at a machine, a configuration or runs without changing anything.
#pragma once

#include "switchyard/config/options.h"

namespace switchyard::config {

// The positional of every verb that reads a configuration.
[[nodiscard]] OptionSpec config_file_argument();

[[nodiscard]] VerbSpec evaluate_verb();
[[nodiscard]] VerbSpec generate_verb();
[[nodiscard]] VerbSpec report_verb();
[[nodiscard]] VerbSpec compare_verb();
[[nodiscard]] VerbSpec plan_verb();
[[nodiscard]] VerbSpec doctor_verb();
[[nodiscard]] VerbSpec verify_layout_verb();

}  // namespace switchyard::config
