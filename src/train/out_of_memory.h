// What to do when a training step does not fit.
#pragma once

#include <cstdint>
#include <exception>

#include "switchyard/config/config.h"

namespace switchyard::train {

// When `error` says that memory ran out: throws an OutOfMemoryError with what was being allocated,
// the experts per token of the step before (the most likely reason: early in training top_p takes
// many) and the keys that lower the need. Returns for other errors. `experts_per_token`: 0 =
// unknown.
void explain_out_of_memory(const std::exception& error, const config::Config& config,
                           std::int64_t step, double experts_per_token);

}  // namespace switchyard::train
