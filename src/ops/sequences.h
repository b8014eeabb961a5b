// Checks of the two arguments that say which tokens count and where sequences begin.
#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cstdint>

#include "ops/kernel_device.h"
#include "switchyard/core/error.h"

namespace switchyard::ops {

// valid_T: bool [T] or undefined; sequence_offset_B1: contiguous int32 [B+1], ascending from 0 to
// T; both on `device`.
inline void check_sequences(const at::Tensor& valid_T, const at::Tensor& sequence_offset_B1,
                            std::int64_t num_tokens, at::Device device) {
  if (valid_T.defined()) {
    SWITCHYARD_CHECK(valid_T.scalar_type() == at::kBool && valid_T.dim() == 1 &&
                         valid_T.size(0) == num_tokens && valid_T.device() == device,
                     "valid_T must be bool [{}] on {}", num_tokens, device.str());
  }
  SWITCHYARD_CHECK(sequence_offset_B1.defined() && sequence_offset_B1.scalar_type() == at::kInt &&
                       sequence_offset_B1.dim() == 1 && sequence_offset_B1.size(0) >= 1 &&
                       sequence_offset_B1.is_contiguous() && sequence_offset_B1.device() == device,
                   "sequence_offset_B1 must be contiguous int32 [B+1] on {}", device.str());
  if (!device.is_cpu()) return;  // looking at values would cost a host synchronisation
  const auto offset = host_values<std::int32_t>(sequence_offset_B1);
  SWITCHYARD_CHECK(offset.front() == 0 && offset.back() == num_tokens &&
                       std::is_sorted(offset.begin(), offset.end()),
                   "sequence_offset_B1 must ascend from 0 to the number of tokens, {}", num_tokens);
}

}  // namespace switchyard::ops
