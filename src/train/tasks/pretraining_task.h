// What a configuration pretrains its model to do.
#pragma once

#include <memory>

#include "switchyard/train/build.h"
#include "switchyard/train/task.h"

namespace switchyard::train {

// Next tokens for a decoder, masked ones for an encoder. `parts` must outlive it.
[[nodiscard]] std::unique_ptr<Task> make_pretraining_task(const Build& parts);

}  // namespace switchyard::train
