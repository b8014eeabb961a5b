// The device that a run computes on.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <string>

namespace switchyard::ops {

// Has this program CUDA kernels?
[[nodiscard]] bool built_with_cuda();

// "cpu", or "cuda" for the thread's current GPU (the first, until use_gpu), whose memory then comes
// in expandable segments unless PYTORCH_ALLOC_CONF or PYTORCH_CUDA_ALLOC_CONF says otherwise.
// Throws UsageError for another name, and where this build or this machine has no such device.
[[nodiscard]] c10::Device device_of(const std::string& name);

// Makes the GPU of that number, or the only one that is visible, the thread's current one: for a
// rank, which has one of its own. Throws UsageError as device_of, and where there are not so many.
c10::Device use_gpu(std::int64_t idx);

// For train.deterministic: from here on LibTorch's operators give the same bits every time, or
// throw. Call it before the first product. Our own kernels always do.
void make_deterministic();

// Returns when all work that is queued on `device` is done.
void synchronize(c10::Device device);

// What a run occupies: on a GPU the most that LibTorch's allocator had in use, else the resident
// memory of this process.
[[nodiscard]] std::uint64_t memory_bytes(c10::Device device);
// The most is counted from here on.
void forget_peak_memory(c10::Device device);

}  // namespace switchyard::ops
