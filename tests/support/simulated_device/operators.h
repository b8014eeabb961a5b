// What the files that stand in for CUDA's operators share.
#pragma once

#include <ATen/core/Tensor.h>

namespace switchyard::simulated_device {

// A tensor of the CPU on the host's view of the same memory; the tensor itself where it is of none
// of the devices.
at::Tensor view_of(const at::Tensor& tensor);

}  // namespace switchyard::simulated_device
