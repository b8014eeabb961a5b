// The verbs that look at a machine or a run without changing anything.
#pragma once

#include "switchyard/config/options.h"

namespace switchyard::config {

[[nodiscard]] VerbSpec doctor_verb();

}  // namespace switchyard::config
