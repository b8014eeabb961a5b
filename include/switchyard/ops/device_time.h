// How long a device computes.
#pragma once

#include <c10/core/Device.h>

#include <functional>

namespace switchyard::ops {

// Seconds that `device` spends on the work that run() gives it: on a CPU the time until run()
// returns; on a GPU the time between events before and behind that work on torch's current stream.
// Returns when the work is done.
[[nodiscard]] double device_seconds(c10::Device device, const std::function<void()>& run);

}  // namespace switchyard::ops
