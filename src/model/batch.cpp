#include "switchyard/model/batch.h"

namespace switchyard::model {

Batch to_device(const Batch& batch, c10::Device device) {
  if (device.is_cpu()) return batch;
  const auto moved = [device](const at::Tensor& tensor) {
    if (!tensor.defined()) return tensor;
    return tensor.pin_memory().to(device, /*non_blocking=*/true);
  };
  return {.token_T = moved(batch.token_T),
          .position_T = moved(batch.position_T),
          .num_positions = batch.num_positions,
          .sequence_offset = batch.sequence_offset,
          .sequence_offset_B1 = moved(batch.sequence_offset_B1),
          .valid_T = moved(batch.valid_T),
          .label_T = moved(batch.label_T),
          .label_token_M = moved(batch.label_token_M),
          .label_B = moved(batch.label_B),
          .second_B = moved(batch.second_B),
          .token_idx_T = moved(batch.token_idx_T)};
}

}  // namespace switchyard::model
