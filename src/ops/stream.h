// The stream that kernels of a device are queued on.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include "switchyard/kernels/stream.h"

namespace switchyard::ops {

// torch's current stream, found without CUDA's headers.
inline kernels::Stream current_stream(at::Device device) {
  return {c10::impl::VirtualGuardImpl(device.type()).getStream(device).native_handle()};
}

}  // namespace switchyard::ops
