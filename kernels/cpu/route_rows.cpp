#include "switchyard/kernels/route_rows.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "cpu/route_order.h"
#include "switchyard/core/parallel.h"
#include "switchyard/kernels/exp.h"
#include "switchyard/kernels/simd.h"

namespace switchyard::kernels::cpu {
namespace {

std::size_t index(std::int64_t value) {
  return static_cast<std::size_t>(value);
}

// What one block of tokens (TokenBlock) adds up.
struct BlockSums {
  std::vector<double> prob_E;
  std::vector<std::int32_t> count_E;  // later: the block's first row of each expert
  std::vector<std::int32_t> k_histogram_E1;
  std::int64_t num_tokens = 0;
  double entropy = 0;
  double z = 0;
};

template <typename T>
std::int64_t num_chosen(const RouteChoice<T>& choice, std::int64_t t) {
  return choice.token_offset_T1[t + 1] - choice.token_offset_T1[t];
}

template <typename T>
SWITCHYARD_SIMD_CLONES void sum_block(const RouteRowsParams<T>& params, const TokenBlock& block,
                                      BlockSums& sums) {
  const std::int64_t num_experts = params.in.num_experts;
  sums.prob_E.assign(index(num_experts), 0.0);
  sums.count_E.assign(index(num_experts), 0);
  sums.k_histogram_E1.assign(index(num_experts + 1), 0);
  double* prob_E = sums.prob_E.data();
  for (std::int64_t t = block.begin; t < block.end; ++t) {
    if (params.in.valid_T != nullptr && !params.in.valid_T[t]) continue;
    const T* logits_E = params.in.logits_TE + t * num_experts;
    const T max = params.choice.softmax_T2[2 * t];
    const T sum = params.choice.softmax_T2[2 * t + 1];
    T mean_log = 0;  // sum of P (l - max), so that entropy = log(sum) - mean_log
#pragma omp simd reduction(+ : mean_log)
    for (std::int64_t e = 0; e < num_experts; ++e) {
      const T shifted = logits_E[e] - max;
      const T prob = exponential(shifted) / sum;
      prob_E[e] += static_cast<double>(prob);
      mean_log += prob > T{0} ? prob * shifted : T{0};  // else 0 * -Inf
    }
    const T log_sum = std::log(sum);
    const T log_sum_exp = max + log_sum;
    sums.entropy += static_cast<double>(log_sum - mean_log);
    sums.z += static_cast<double>(log_sum_exp * log_sum_exp);
    ++sums.num_tokens;
    const std::int64_t count = num_chosen(params.choice, t);
    ++sums.k_histogram_E1[index(count)];
    for_each_chosen(logits_E, num_experts, count, params.choice.last_expert_T[t],
                    [&](std::int64_t e) { ++sums.count_E[index(e)]; });
  }
}

// Turns the blocks' counts into the first row of each (block, expert): experts first, then blocks
// in token order, which makes the sort stable.
void scan(std::vector<BlockSums>& blocks, std::int64_t num_experts,
          std::int32_t* expert_offset_E1) {
  std::int32_t next = 0;
  for (std::int64_t e = 0; e < num_experts; ++e) {
    expert_offset_E1[e] = next;
    for (BlockSums& block : blocks) {
      const std::int32_t count = block.count_E[index(e)];
      block.count_E[index(e)] = next;
      next += count;
    }
  }
  expert_offset_E1[num_experts] = next;
}

template <typename T>
void place_block(const RouteRowsParams<T>& params, const TokenBlock& block, BlockSums& sums) {
  const std::int64_t num_experts = params.in.num_experts;
  std::int32_t* next_row_E = sums.count_E.data();
  for (std::int64_t t = block.begin; t < block.end; ++t) {
    const T* logits_E = params.in.logits_TE + t * num_experts;
    const T max = params.choice.softmax_T2[2 * t];
    const T sum = params.choice.softmax_T2[2 * t + 1];
    std::int32_t* rows = params.token_row_N + params.choice.token_offset_T1[t];
    const std::int64_t count = num_chosen(params.choice, t);
    std::int64_t i = 0;
    T prob_sum = 0;
    for_each_chosen(logits_E, num_experts, count, params.choice.last_expert_T[t],
                    [&](std::int64_t e) {
                      const std::int32_t row = next_row_E[e]++;
                      const T prob = exponential(logits_E[e] - max) / sum;
                      prob_sum += prob;
                      params.row_token_N[row] = static_cast<std::int32_t>(t);
                      params.row_weight_N[row] = prob;
                      rows[i++] = row;
                    });
    if (!params.renormalize) continue;
    for (i = 0; i < count; ++i) params.row_weight_N[rows[i]] /= prob_sum;
  }
}

template <typename T>
void reduce(const RouteRowsParams<T>& params, const std::vector<TokenBlock>& blocks,
            const std::vector<BlockSums>& sums) {
  const std::int64_t num_experts = params.in.num_experts;
  std::fill_n(params.count_BE, params.num_sequences * num_experts, std::int64_t{0});
  std::fill_n(params.num_tokens_B, params.num_sequences, std::int64_t{0});
  std::fill_n(params.k_histogram_E1, num_experts + 1, std::int64_t{0});
  std::vector<double> prob_BE(index(params.num_sequences * num_experts), 0.0);
  double entropy = 0;
  double z = 0;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const std::int64_t sequence = blocks[i].sequence;
    params.num_tokens_B[sequence] += sums[i].num_tokens;
    entropy += sums[i].entropy;
    z += sums[i].z;
    for (std::int64_t e = 0; e < num_experts; ++e) {
      params.count_BE[sequence * num_experts + e] += sums[i].count_E[index(e)];
      prob_BE[index(sequence * num_experts + e)] += sums[i].prob_E[index(e)];
    }
    for (std::int64_t k = 0; k <= num_experts; ++k) {
      params.k_histogram_E1[k] += sums[i].k_histogram_E1[index(k)];
    }
  }
  std::transform(prob_BE.begin(), prob_BE.end(), params.prob_sum_BE,
                 [](double value) { return static_cast<T>(value); });
  *params.entropy_sum = static_cast<T>(entropy);
  *params.z_sum = static_cast<T>(z);
}

template <typename T>
void rows(const RouteRowsParams<T>& params) {
  const std::vector<TokenBlock> blocks =
      token_blocks(params.sequence_offset_B1, params.num_sequences);
  std::vector<BlockSums> sums(blocks.size());
  const auto num_blocks = static_cast<std::int64_t>(blocks.size());
  parallel_for(num_blocks, 1, [&](std::int64_t i, std::int64_t /*end*/) {
    sum_block(params, blocks[index(i)], sums[index(i)]);
  });
  reduce(params, blocks, sums);
  scan(sums, params.in.num_experts, params.expert_offset_E1);
  parallel_for(num_blocks, 1, [&](std::int64_t i, std::int64_t /*end*/) {
    place_block(params, blocks[index(i)], sums[index(i)]);
  });
}

}  // namespace

void route_rows(const RouteRowsParams<float>& params) {
  rows(params);
}
void route_rows(const RouteRowsParams<double>& params) {
  rows(params);
}

}  // namespace switchyard::kernels::cpu
