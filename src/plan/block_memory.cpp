#include "plan/block_memory.h"

#include <algorithm>
#include <cmath>

#include "switchyard/ops/linear_cross_entropy.h"
#include "switchyard/ops/precision.h"

namespace switchyard::plan {
namespace {

constexpr double kBool = 1;
constexpr double kInt32 = 4;
constexpr double kInt64 = 8;

double hidden_bytes(const BlockShape& s) {  // of one [T, H] in the compute dtype
  return s.T * s.H * s.compute;
}

// The gradient of q in fp32 and a sum for each row, with room for 128 rows behind each sequence;
// where query heads share keys, the gradients of k and v for each query head.
double flash_backward_work(const BlockShape& s) {
  const double multiple = s.D <= 128 ? 32 : 64;
  const double head_size = std::ceil(s.D / multiple) * multiple;
  const double rows = s.A * (s.T + 128 * s.B);
  const double of_keys = s.G < s.A ? 2 * s.A * s.T * s.D * s.compute : 0;
  return rows * (head_size + 1) * s.accumulation + of_keys;
}

// Norms, attention and residual stream, which every block has.
BlockBytes attention_part(const BlockShape& s) {
  const double heads = s.T * s.D * s.compute;  // one head of every token
  BlockBytes block;
  // RmsNorm saves its input and a factor per token; its output is saved by what reads it.
  block.kept.residual = 2 * (2 * hidden_bytes(s) + s.T * s.accumulation);
  // v is a view of the projections and keeps them all; q and k after rotation; result; lse_AT.
  block.kept.attention = ((s.A + 2 * s.G) + (s.A + s.G) + s.A) * heads + s.A * s.T * s.accumulation;
  // The norms of q and k save dense copies of them.
  if (s.qk_norm) block.kept.attention += (s.A + s.G) * (heads + s.T * s.accumulation);
  block.kept_to_recompute.residual = hidden_bytes(s);
  block.output = hidden_bytes(s);

  // The residual stream behind the attention and the second norm's output are gone.
  block.kept_by_attention = block.kept.residual / 2 + block.kept.attention;
  // Gradients of the residual stream, the result, of q, k and v; the latter joined before and after
  // the rotation is undone.
  block.attention_backward_work = hidden_bytes(s) + (s.A + (s.A + 2 * s.G) + (s.A + s.G)) * heads;
  if (s.flash_attention) block.attention_backward_work += flash_backward_work(s);
  // The branch's result, which is held until the block is done.
  block.forward_work = hidden_bytes(s);
  // The gradient of the residual stream, and of the branch where dropout makes it another.
  block.mlp_backward_work = hidden_bytes(s) * (s.dropout ? 2 : 1);
  return block;
}

struct ExpertWork {
  double forward = 0.0;
  double backward = 0.0;
};

// src/moe/grouped_experts.cpp: everything for all rows at once.
ExpertWork grouped_work(const BlockShape& s, double rows) {
  const double row_of_F = rows * s.F * s.compute;
  const double row_of_H = rows * s.H * s.compute;
  const double w1_sum =
      s.w1_gradient_apart
          ? 2 * s.F * s.H * s.E * (s.compute + (s.casts_in_copies ? s.accumulation : 0))
          : 0.0;
  return {.forward = 2 * row_of_H + std::max(row_of_F, hidden_bytes(s)),
          // dy_NH, dgate_up and activation beside: d_NF, or x_NH and the product for W1's
          // gradient, or dx_NH and dx_TH.
          .backward = row_of_H + 3 * row_of_F +
                      std::max({row_of_F, row_of_H + w1_sum, row_of_H + hidden_bytes(s)}) +
                      rows * s.accumulation};
}

// src/moe/loop_experts.cpp: of all rows only the results; the rest for one expert of each thread.
ExpertWork loop_work(const BlockShape& s, double rows) {
  const double num_at_work = s.E >= 2 * s.num_threads ? s.num_threads : 1;
  const double share = rows / s.E * num_at_work;
  const double share_of_F = share * s.F * s.compute;
  const double share_of_H = share * s.H * s.compute;
  const double row_of_H = rows * s.H * s.compute;
  // In bf16 products go through padded copies, and gradients of weights through copies in fp32.
  const bool copies = s.casts_in_copies;
  const double w1_sum = copies ? num_at_work * 2 * s.F * s.H * (s.compute + s.accumulation) : 0;
  return {.forward = row_of_H + std::max(copies ? 3 * share_of_F + share_of_H
                                                : std::max(share_of_F, share_of_H),
                                         hidden_bytes(s)),
          .backward = row_of_H + 2 * rows * s.accumulation +
                      std::max({share_of_H + 4 * share_of_F,
                                2 * share_of_H + 3 * share_of_F + w1_sum, hidden_bytes(s)})};
}

// As a dense block's, at the same time as the experts: its result waits for theirs, and on the way
// back both begin with the same gradient.
void add_shared_expert(BlockBytes& block, const BlockShape& s) {
  const double row_of_F = s.T * s.shared_F * s.compute;
  block.kept.experts += 3 * row_of_F;
  block.forward_work += hidden_bytes(s);
  block.mlp_backward_work = std::max(block.mlp_backward_work, 2 * row_of_F + hidden_bytes(s));
  if (!s.shared_gate) return;
  // The product with the gate keeps both factors; the gate's own product its input, where that is a
  // copy, and the sigmoid its result.
  block.kept.experts += hidden_bytes(s) + s.T * (s.compute + s.accumulation);
  if (s.copies_for_router) block.kept.experts += s.T * s.H * s.accumulation;
}

}  // namespace

BlockShape block_shape(const config::ModelConfig& model, at::ScalarType compute,
                       const BlockSetting& setting) {
  const auto number = [](std::int64_t value) { return static_cast<double>(value); };
  BlockShape s;
  s.B = number(setting.num_sequences);
  s.T = s.B * number(setting.sequence_length);
  s.H = number(model.hidden_size);
  s.V = number(model.vocab_size);
  s.A = number(model.num_heads);
  s.G = number(model.num_kv_heads);
  s.D = number(model.head_dim);
  s.F = number(model.moe.expert_size);
  s.dense_F = number(model.ffn_size);
  s.shared_F = number(model.moe.shared_expert_size);
  s.shared_gate = model.moe.shared_expert_gate;
  s.E = number(model.moe.num_experts);
  s.compute = number(static_cast<std::int64_t>(c10::elementSize(compute)));
  s.accumulation = static_cast<double>(c10::elementSize(ops::accumulation_type(compute)));
  s.copies_for_router = s.compute != s.accumulation;
  s.qk_norm = model.qk_norm;
  s.dropout = model.dropout > 0.0;
  s.num_threads = setting.num_threads;
  s.grouped_experts = setting.grouped_experts;
  s.w1_gradient_apart = setting.w1_gradient_apart;
  s.casts_in_copies = setting.casts_in_copies;
  s.on_gpu = setting.on_gpu;
  s.flash_attention = setting.on_gpu && compute == at::kBFloat16;
  return s;
}

BlockBytes dense_block(const BlockShape& s) {
  BlockBytes block = attention_part(s);
  const double row_of_F = s.T * s.dense_F * s.compute;
  block.kept.dense = 3 * row_of_F;  // gate and up for swiglu, their activation for the last product
  // The branch's result; gradients of the activation (its value has gone by then), gate and up.
  block.forward_work += hidden_bytes(s);
  block.mlp_backward_work += 2 * row_of_F;
  return block;
}

BlockBytes moe_block(const BlockShape& s, double k, const config::RouterKeeps& keeps) {
  BlockBytes block = attention_part(s);
  const double rows = s.T * k;
  // token_row_N, row_token_N, row_weight_N, expert_offset_E1, token_offset_T1
  const double route = rows * (2 * kInt32 + s.accumulation) + (s.E + 1 + s.T + 1) * kInt32;
  // logits_TE and softmax_T2; the input where it was converted for the router.
  block.kept.router = s.T * (s.E + 2) * s.accumulation + route;
  if (s.copies_for_router) block.kept.router += s.T * s.H * s.accumulation;
  block.kept.router += s.T * (keeps.matrices * s.E + keeps.vectors) * s.accumulation;
  // Which tokens have no finite logit, [T, E] bool; the pairs of the rows; the offsets of the route
  // that has the sums.
  if (keeps.chosen) {
    block.kept.router += s.T * s.E * kBool + rows * kInt64 + (s.E + 1 + s.T + 1) * kInt32;
  }
  block.kept.experts = rows * 2 * s.F * s.compute;
  // The route to replay, with its sums: count_BE, prob_sum_BE, num_tokens_B, k_histogram_E1.
  block.kept_to_recompute.router =
      route + s.B * s.E * (kInt64 + s.accumulation) + (s.B + s.E + 1) * kInt64;
  const ExpertWork work = s.grouped_experts ? grouped_work(s, rows) : loop_work(s, rows);
  block.forward_work += work.forward;
  block.mlp_backward_work += work.backward;
  if (s.shared_F > 0) add_shared_expert(block, s);
  return block;
}

HeadBytes head_bytes(const BlockShape& s) {
  const double chunk =
      std::min(s.T, static_cast<double>(ops::cross_entropy_chunk_tokens(s.on_gpu)));
  const double table = s.V * s.H;
  HeadBytes head;
  head.logits = chunk * s.V * s.compute;
  // The norm's input and factors; the loss computes its gradients with the forward pass: dx_TH, and
  // dweight_VH in the accumulation type.
  head.kept = 2 * hidden_bytes(s) + s.T * s.accumulation + table * s.accumulation;
  // hidden_TH, the loss of each token, the logits of one chunk; on a CPU, where the sum is not in
  // the compute dtype, the chunk's part of dweight_VH.
  head.work = hidden_bytes(s) + s.T * s.accumulation + head.logits;
  if (s.copies_for_router && !s.on_gpu) {
    head.work += table * (s.compute + (s.casts_in_copies ? s.accumulation : 0));
  }
  return head;
}

void add(KeptBytes& sum, const KeptBytes& addend) {
  sum.residual += addend.residual;
  sum.attention += addend.attention;
  sum.dense += addend.dense;
  sum.router += addend.router;
  sum.experts += addend.experts;
  sum.head += addend.head;
}

}  // namespace switchyard::plan
