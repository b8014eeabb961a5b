// The rows of the verb table that are about tasks.
#pragma once

#include "switchyard/config/options.h"

namespace switchyard::config {

[[nodiscard]] VerbSpec finetune_verb();
[[nodiscard]] VerbSpec predict_verb();

}  // namespace switchyard::config
