// The routing contract: the one structure that every router, dispatcher, kernel and statistic
// speaks. Two compressed-sparse-row views of the same N (token, expert) pairs; nothing anywhere
// assumes N == T * k, and no maximum k is baked in.
//
// Shape suffixes: T tokens, E experts, N routed rows, B sequences (E1 = E + 1 entries, ...).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>

namespace switchyard::ops {

// Invariants (checked by `check_routing`): both offset arrays start at 0, ascend and end at N;
// tokens ascend inside an expert; experts ascend inside a token; each pair occurs in both views.
// A token may have 0..E experts, an expert 0..T tokens, T may be 0. Index dtype int32.
//
// Where every token has one expert and tokens are ordered by it, rows are tokens: row r is token
// r's only one. The index tensors but for expert_offset_E1 are then undefined, and nobody gathers.
struct Routing {
  std::int64_t num_tokens = 0;
  std::int64_t num_experts = 0;
  at::Tensor expert_offset_E1;  // [E+1] rows of expert e are [offset[e], offset[e+1])
  at::Tensor row_token_N;       // [N]   expert-major; ascending token inside an expert
  at::Tensor token_offset_T1;   // [T+1]
  at::Tensor token_row_N;       // [N]   rows of token t, ascending expert id
  at::Tensor row_weight_N;      // [N]   accumulation type, differentiable back to the router

  [[nodiscard]] bool rows_are_tokens() const { return !row_token_N.defined(); }
  [[nodiscard]] std::int64_t num_rows() const {
    return rows_are_tokens() ? num_tokens : row_token_N.size(0);
  }
};

// Throws InternalError naming the first invariant of `Routing` that does not hold, and for one
// whose rows are tokens, which has no two views. For tests and for builds of a Routing by hand;
// costs O(N + T + E) on the host.
void check_routing(const Routing& routing);

// Additive statistics of one layer and micro-batch. No layer divides or communicates: `train` adds
// them over ranks and micro-batches and forms losses and records. Padding tokens count nowhere.
// Sums are kept per sequence (B rows) because the `sequence` scope of the load-balance loss needs
// them; a sum over dim 0 gives the micro-batch's.
struct RouteSums {
  at::Tensor count_BE;        // [B, E] int64, rows per sequence and expert
  at::Tensor num_tokens_B;    // [B] int64, valid tokens
  at::Tensor k_histogram_E1;  // [E+1] int64, valid tokens with k experts
  at::Tensor prob_sum_BE;     // [B, E] accumulation type, differentiable: sum of probabilities
  at::Tensor entropy_sum;     // [] differentiable: sum over tokens of -sum_e P log P (nats)
  at::Tensor z_sum;           // [] differentiable: sum over tokens of logsumexp(logits)^2
  // For routers whose weights are to be kept small; otherwise undefined and 0.
  at::Tensor weight_sum_E = {};  // [E] differentiable: sum over tokens of the routing weights
  double l1_coefficient = 0.0;   // of the L1 loss that is made of them (routing/losses.h)
  // The router's own sums, [] or [n] fp64, not differentiable.
  std::map<std::string, at::Tensor> named = {};
};

}  // namespace switchyard::ops
