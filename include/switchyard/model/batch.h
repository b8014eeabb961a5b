// One micro-batch of packed sequences.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace switchyard::model {

// T tokens of B sequences laid end to end; [B, S] is the case of equal lengths. A "sequence" is
// what attention stays inside: a window, or one document of it when
// data.attend_across_documents is false.
struct Batch {
  at::Tensor token_T;                         // [T] int64
  at::Tensor position_T;                      // [T] int64, restarts with each sequence
  std::int64_t num_positions = 0;             // every position is below it (host copy)
  std::vector<std::int64_t> sequence_offset;  // [B+1], from 0 to T (host copy)
  at::Tensor sequence_offset_B1;              // [B+1] int32
  at::Tensor valid_T;                         // [T] bool, or undefined when all are valid
  at::Tensor label_T;                         // [T] int64, -1 = no loss; undefined for generation
  // [M] int64, ascending: the tokens that have a label, where they are few; undefined: look at
  // label_T.
  at::Tensor label_token_M;
  at::Tensor
      label_B;  // [B] one label per sequence, int64 or fp32; undefined where tokens have them
  at::Tensor second_B;  // [B] int64, the token that a pair's second text begins with; or undefined
  at::Tensor token_idx_T;  // [T] int64, sequence in the global batch * S + position; dropout's

  [[nodiscard]] std::int64_t num_tokens() const { return token_T.size(0); }
};

struct MicroBatch {
  Batch batch;
  std::int64_t num_tokens = 0;  // valid ones: what routers count
  std::int64_t num_labels = 0;  // what the sum of losses is divided by, over the whole step
};

// The same batch with its tensors on `device`. A copy to a GPU is queued from pinned memory: nobody
// waits for it. The host keeps sequence_offset.
[[nodiscard]] Batch to_device(const Batch& batch, at::Device device);

}  // namespace switchyard::model
