// Bytes that the parts of a decoder hold in training, by the tensors that their autograd functions
// save and the buffers that they use meanwhile. docs/architecture.md, "What a step keeps in
// memory", has the table that these functions write down.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "switchyard/config/config.h"
#include "switchyard/config/router.h"
#include "switchyard/plan/training_memory.h"

namespace switchyard::plan {

// Sizes as doubles; names as the suffixes of docs/architecture.md.
struct BlockShape {
  double T = 0;  // tokens of the micro-batch
  double B = 0;
  double H = 0;
  double V = 0;
  double A = 0;  // query heads
  double G = 0;  // key heads
  double D = 0;  // head size
  double F = 0;  // of an expert
  double dense_F = 0;
  double shared_F = 0;  // of the shared expert; 0 = none
  bool shared_gate = false;
  double E = 0;
  double compute = 0;              // bytes of an element in the compute dtype
  double accumulation = 0;         // in the accumulation type
  bool copies_for_router = false;  // the router's input is a copy in the accumulation type
  bool qk_norm = false;
  bool dropout = false;
  double num_threads = 1;
  bool grouped_experts = false;
  bool w1_gradient_apart = false;  // a product of its own before it is added to the sum
  // Adding a tensor of another dtype first copies it into the sum's.
  bool casts_in_copies = false;
  bool on_gpu = false;
  bool flash_attention = false;  // LibTorch's, src/ops/flash_attention.cpp
};

struct BlockSetting {
  std::int64_t num_sequences = 0;
  std::int64_t sequence_length = 0;
  int num_threads = 1;
  bool grouped_experts = false;
  bool w1_gradient_apart = false;  // a product of its own before it is added to the sum
  bool casts_in_copies = false;
  bool on_gpu = false;
};
[[nodiscard]] BlockShape block_shape(const config::ModelConfig& model, at::ScalarType compute,
                                     const BlockSetting& setting);

struct BlockBytes {
  KeptBytes kept{};
  KeptBytes kept_to_recompute{};  // instead of `kept`, when the block will be computed again
  // Beside `kept`, at the end of the forward pass.
  double forward_work = 0.0;
  // Beside `kept`, while the backward pass is in the MLP or experts, which it comes to first.
  double mlp_backward_work = 0.0;
  // What is left of `kept` when the backward pass comes to the attention, and what it needs beside.
  double kept_by_attention = 0.0;
  double attention_backward_work = 0.0;
  double output = 0.0;  // the block's result, which a second pass holds as well
};
[[nodiscard]] BlockBytes dense_block(const BlockShape& shape);
// `k`: realised experts per token; `keeps`: of the block's router.
[[nodiscard]] BlockBytes moe_block(const BlockShape& shape, double k,
                                   const config::RouterKeeps& keeps);

struct HeadBytes {
  double kept = 0.0;
  double work = 0.0;
  double logits = 0.0;  // in `work`
};
// The last norm, the output matrix and the loss.
[[nodiscard]] HeadBytes head_bytes(const BlockShape& shape);

void add(KeptBytes& sum, const KeptBytes& addend);

}  // namespace switchyard::plan
