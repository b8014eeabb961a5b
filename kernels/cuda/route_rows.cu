// A stable counting sort of the chosen (token, expert) pairs: per-block counts, one scan, one
// placement. Tokens are cut into blocks that lie within one sequence, so that sums per sequence are
// sums of blocks in order. Nothing of size [T, E] is written and no float is added atomically.
#include "switchyard/kernels/route_rows.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#include "cuda/dynamic_shared.cuh"
#include "cuda/route_order.cuh"

namespace switchyard::kernels::cuda {
namespace {

constexpr int kBlockTokens = 128;
constexpr int kThreads = 256;
constexpr int kMaskWords = kBlockTokens / 32;

// What one block of tokens adds up; scratch memory.
struct BlockArrays {
  std::int32_t* first_block_B1;  // blocks of sequence b are [first[b], first[b + 1])
  std::int32_t* count_PE;        // P blocks; later the block's first row among the expert's
  double* prob_sum_PE;
  double* entropy_P;
  double* z_P;
  std::int32_t* num_tokens_P;
  std::int32_t* total_E;  // rows of each expert
};

struct BlockOfTokens {
  std::int64_t sequence;
  std::int64_t begin;
  std::int64_t end;
};

// False: the launch has more blocks than there are.
template <typename T>
__device__ bool find_block(const RouteRowsParams<T>& params, const BlockArrays& blocks,
                           BlockOfTokens& block) {
  if (params.num_sequences == 0 ||
      blockIdx.x >= static_cast<unsigned>(blocks.first_block_B1[params.num_sequences])) {
    return false;
  }
  block.sequence = segment_of(blocks.first_block_B1, params.num_sequences, blockIdx.x);
  block.begin = params.sequence_offset_B1[block.sequence] +
                (blockIdx.x - blocks.first_block_B1[block.sequence]) *
                    static_cast<std::int64_t>(kBlockTokens);
  const std::int64_t end = params.sequence_offset_B1[block.sequence + 1];
  block.end = std::min(block.begin + kBlockTokens, end);
  return true;
}

__global__ void __launch_bounds__(kThreads)
    plan_blocks(const std::int32_t* sequence_offset_B1, std::int64_t num_sequences,
                std::int32_t* first_block_B1) {
  __shared__ std::int32_t per_warp[kThreads / kWarpSize];
  std::int32_t base = 0;
  for (std::int64_t begin = 0; begin < num_sequences; begin += kThreads) {
    const std::int64_t b = begin + threadIdx.x;
    const std::int32_t length =
        b < num_sequences ? sequence_offset_B1[b + 1] - sequence_offset_B1[b] : 0;
    std::int32_t total = 0;
    const std::int32_t before =
        exclusive_scan<kThreads>((length + kBlockTokens - 1) / kBlockTokens, per_warp, total);
    if (b < num_sequences) first_block_B1[b] = base + before;
    base += total;
    __syncthreads();
  }
  if (threadIdx.x == 0) first_block_B1[num_sequences] = base;
}

// Threads are laid out as [groups][experts_per_pass]: a thread follows one expert over every
// groups-th token, so that neighbours read neighbouring logits. Dynamic shared memory: a histogram
// of k, int[E + 1].
template <typename T>
__global__ void __launch_bounds__(kThreads)
    sum_blocks(RouteRowsParams<T> params, BlockArrays blocks, int experts_per_pass) {
  __shared__ double prob_of_thread[kThreads];
  __shared__ std::int32_t count_of_thread[kThreads];
  __shared__ double per_warp[2][kThreads / kWarpSize];
  BlockOfTokens block;
  if (!find_block(params, blocks, block)) return;
  const std::int64_t num_experts = params.in.num_experts;
  auto* histogram = dynamic_shared<unsigned>();
  for (std::int64_t k = threadIdx.x; k <= num_experts; k += kThreads) histogram[k] = 0;
  __syncthreads();

  const int num_groups = kThreads / experts_per_pass;
  const int group = static_cast<int>(threadIdx.x) / experts_per_pass;
  const int lane = static_cast<int>(threadIdx.x) % experts_per_pass;
  double entropy = 0;
  double z = 0;
  int num_tokens = 0;
  for (std::int64_t first = 0; first < num_experts; first += experts_per_pass) {
    const std::int64_t e = first + lane;
    double prob_sum = 0;
    std::int32_t count = 0;
    for (std::int64_t t = block.begin + group; t < block.end; t += num_groups) {
      if (params.in.valid_T != nullptr && !params.in.valid_T[t]) continue;
      const T* logits_E = params.in.logits_TE + t * num_experts;
      const T max = params.choice.softmax_T2[2 * t];
      const T sum = params.choice.softmax_T2[2 * t + 1];
      const auto choice = token_choice(params.choice, logits_E, t);
      if (e == 0) {
        const T log_sum = std::log(sum);
        const T log_sum_exp = max + log_sum;
        entropy += static_cast<double>(log_sum);
        z += static_cast<double>(log_sum_exp * log_sum_exp);
        ++num_tokens;
        atomicAdd(&histogram[choice.count], 1U);
      }
      if (e >= num_experts) continue;
      const T logit = logits_E[e];
      const T shifted = logit - max;
      const T prob = std::exp(shifted) / sum;
      prob_sum += static_cast<double>(prob);
      if (prob > T{0}) entropy -= static_cast<double>(prob * shifted);  // else 0 * -Inf
      count += is_chosen(choice, logit, static_cast<std::int32_t>(e)) ? 1 : 0;
    }
    prob_of_thread[threadIdx.x] = prob_sum;
    count_of_thread[threadIdx.x] = count;
    __syncthreads();
    if (group == 0 && e < num_experts) {
      for (int g = 1; g < num_groups; ++g) {
        prob_sum += prob_of_thread[g * experts_per_pass + lane];
        count += count_of_thread[g * experts_per_pass + lane];
      }
      blocks.prob_sum_PE[blockIdx.x * num_experts + e] = prob_sum;
      blocks.count_PE[blockIdx.x * num_experts + e] = count;
    }
    __syncthreads();
  }
  entropy = block_sum<kThreads>(entropy, per_warp[0]);
  z = block_sum<kThreads>(z, per_warp[1]);
  if (num_tokens > 0) atomicAdd(&blocks.num_tokens_P[blockIdx.x], num_tokens);
  if (threadIdx.x == 0) {
    blocks.entropy_P[blockIdx.x] = entropy;
    blocks.z_P[blockIdx.x] = z;
  }
  for (std::int64_t k = threadIdx.x; k <= num_experts; k += kThreads) {
    auto* total = reinterpret_cast<unsigned long long*>(params.k_histogram_E1);
    if (histogram[k] != 0) atomicAdd(&total[k], std::uint64_t{histogram[k]});
  }
}

// One thread per (sequence, expert); the last block adds what has no expert.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    sum_sequences(RouteRowsParams<T> params, BlockArrays blocks) {
  __shared__ double per_warp[2][kThreads / kWarpSize];
  const std::int64_t num_experts = params.in.num_experts;
  if (blockIdx.x + 1 == gridDim.x) {
    double entropy = 0;
    double z = 0;
    const std::int32_t num_blocks = blocks.first_block_B1[params.num_sequences];
    for (std::int32_t i = static_cast<std::int32_t>(threadIdx.x); i < num_blocks; i += kThreads) {
      entropy += blocks.entropy_P[i];
      z += blocks.z_P[i];
    }
    entropy = block_sum<kThreads>(entropy, per_warp[0]);
    z = block_sum<kThreads>(z, per_warp[1]);
    if (threadIdx.x == 0) {
      *params.entropy_sum = static_cast<T>(entropy);
      *params.z_sum = static_cast<T>(z);
    }
    return;
  }
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= params.num_sequences * num_experts) return;
  const std::int64_t sequence = i / num_experts;
  const std::int64_t e = i % num_experts;
  std::int64_t count = 0;
  std::int64_t num_tokens = 0;
  double prob_sum = 0;
  for (std::int64_t p = blocks.first_block_B1[sequence]; p < blocks.first_block_B1[sequence + 1];
       ++p) {
    count += blocks.count_PE[p * num_experts + e];
    prob_sum += blocks.prob_sum_PE[p * num_experts + e];
    num_tokens += blocks.num_tokens_P[p];
  }
  params.count_BE[i] = count;
  params.prob_sum_BE[i] = static_cast<T>(prob_sum);
  if (e == 0) params.num_tokens_B[sequence] = num_tokens;
}

// One block per expert: counts become the rows of the expert that earlier blocks have.
__global__ void __launch_bounds__(kThreads)
    scan_blocks(BlockArrays blocks, std::int64_t num_sequences, std::int64_t num_experts) {
  __shared__ std::int32_t per_warp[kThreads / kWarpSize];
  const std::int64_t e = blockIdx.x;
  const std::int32_t num_blocks = blocks.first_block_B1[num_sequences];
  std::int32_t base = 0;
  for (std::int64_t begin = 0; begin < num_blocks; begin += kThreads) {
    const std::int64_t p = begin + threadIdx.x;
    const std::int32_t count = p < num_blocks ? blocks.count_PE[p * num_experts + e] : 0;
    std::int32_t total = 0;
    const std::int32_t before = exclusive_scan<kThreads>(count, per_warp, total);
    if (p < num_blocks) blocks.count_PE[p * num_experts + e] = base + before;
    base += total;
    __syncthreads();
  }
  if (threadIdx.x == 0) blocks.total_E[e] = base;
}

// Dynamic shared memory: the block's first row of each expert, int[E], and which of its tokens
// chose the expert, kMaskWords words for each.
template <typename T>
__global__ void __launch_bounds__(kBlockTokens)
    place_rows(RouteRowsParams<T> params, BlockArrays blocks) {
  __shared__ std::int32_t per_warp[kBlockTokens / kWarpSize];
  __shared__ TokenChoice<T> choices[kBlockTokens];
  BlockOfTokens block;
  const bool has_tokens = find_block(params, blocks, block);
  if (!has_tokens && blockIdx.x > 0) return;  // the first block also writes expert_offset
  const auto num_experts = static_cast<std::int32_t>(params.in.num_experts);
  auto* first_row_E = dynamic_shared<std::int32_t>();
  auto* mask_EW = reinterpret_cast<unsigned*>(first_row_E + num_experts);

  std::int32_t base = 0;
  for (std::int32_t begin = 0; begin < num_experts; begin += kBlockTokens) {
    const std::int32_t e = begin + static_cast<std::int32_t>(threadIdx.x);
    std::int32_t total = 0;
    const std::int32_t before =
        exclusive_scan<kBlockTokens>(e < num_experts ? blocks.total_E[e] : 0, per_warp, total);
    if (e < num_experts) {
      first_row_E[e] = base + before;
      if (has_tokens) {
        first_row_E[e] += blocks.count_PE[static_cast<std::int64_t>(blockIdx.x) * num_experts + e];
      }
      if (blockIdx.x == 0) params.expert_offset_E1[e] = base + before;
    }
    base += total;
    __syncthreads();
  }
  if (blockIdx.x == 0 && threadIdx.x == 0) params.expert_offset_E1[num_experts] = base;
  if (!has_tokens) return;

  const auto num_tokens = static_cast<std::int32_t>(block.end - block.begin);
  const std::int64_t token = block.begin + threadIdx.x;
  const bool is_token = token < block.end;
  const T* block_logits = params.in.logits_TE + block.begin * num_experts;
  const T* logits_E = block_logits + static_cast<std::int64_t>(threadIdx.x) * num_experts;
  if (is_token) choices[threadIdx.x] = token_choice(params.choice, logits_E, token);
  for (std::int32_t i = static_cast<std::int32_t>(threadIdx.x); i < num_experts * kMaskWords;
       i += kBlockTokens) {
    mask_EW[i] = 0;
  }
  __syncthreads();
  for (std::int32_t i = static_cast<std::int32_t>(threadIdx.x); i < num_tokens * num_experts;
       i += kBlockTokens) {
    const std::int32_t t = i / num_experts;
    const std::int32_t e = i % num_experts;
    if (is_chosen(choices[t], block_logits[i], e)) {
      atomicOr(&mask_EW[e * kMaskWords + t / 32], 1U << (t % 32));
    }
  }
  __syncthreads();
  if (!is_token) return;

  const unsigned word = threadIdx.x / 32;
  const unsigned bit = threadIdx.x % 32;
  const T max = params.choice.softmax_T2[2 * token];
  const T sum = params.choice.softmax_T2[2 * token + 1];
  std::int32_t* rows = params.token_row_N + params.choice.token_offset_T1[token];
  T prob_sum = 0;
  std::int32_t num_rows = 0;
  for (std::int32_t e = 0; e < num_experts; ++e) {
    const unsigned* mask_W = mask_EW + e * kMaskWords;
    if ((mask_W[word] >> bit & 1U) == 0) continue;
    std::int32_t row = first_row_E[e] + __popc(mask_W[word] & ((1U << bit) - 1));
    for (unsigned i = 0; i < word; ++i) row += __popc(mask_W[i]);
    const T prob = std::exp(logits_E[e] - max) / sum;
    prob_sum += prob;
    params.row_token_N[row] = static_cast<std::int32_t>(token);
    params.row_weight_N[row] = prob;
    rows[num_rows++] = row;
  }
  if (!params.renormalize) return;
  for (std::int32_t i = 0; i < num_rows; ++i) params.row_weight_N[rows[i]] /= prob_sum;
}

template <typename T>
void run(const RouteRowsParams<T>& params, Stream stream) {
  const std::int64_t num_experts = params.in.num_experts;
  check_num_experts(num_experts);
  // As many as there can be: how many there are, only the device knows.
  const std::int64_t max_blocks = params.in.num_tokens / kBlockTokens + params.num_sequences;
  const std::int64_t max_counts = max_blocks * num_experts;
  Scratch scratch(
      Scratch::bytes_of<std::int32_t>(params.num_sequences + 1) +
          Scratch::bytes_of<std::int32_t>(max_counts) + Scratch::bytes_of<double>(max_counts) +
          2 * Scratch::bytes_of<double>(max_blocks) + Scratch::bytes_of<std::int32_t>(max_blocks) +
          Scratch::bytes_of<std::int32_t>(num_experts),
      stream);
  BlockArrays blocks{};
  blocks.first_block_B1 = scratch.take<std::int32_t>(params.num_sequences + 1);
  blocks.count_PE = scratch.take<std::int32_t>(max_counts);
  blocks.prob_sum_PE = scratch.take<double>(max_counts);
  blocks.entropy_P = scratch.take<double>(max_blocks);
  blocks.z_P = scratch.take<double>(max_blocks);
  blocks.num_tokens_P = scratch.take<std::int32_t>(max_blocks);
  blocks.total_E = scratch.take<std::int32_t>(num_experts);
  const auto clear = [&](void* memory, std::size_t bytes) {
    check_call(cudaMemsetAsync(memory, 0, bytes, native(stream)), "cudaMemsetAsync");
  };
  clear(params.k_histogram_E1, static_cast<std::size_t>(num_experts + 1) * sizeof(std::int64_t));
  if (max_blocks > 0) {
    clear(blocks.num_tokens_P, static_cast<std::size_t>(max_blocks) * sizeof(std::int32_t));
  }

  const unsigned grid = num_blocks(max_blocks, 1);
  const auto experts = static_cast<std::size_t>(num_experts);
  const int experts_per_pass =
      static_cast<int>(std::min<std::size_t>(std::bit_ceil(experts), kThreads));
  launch(plan_blocks, 1, kThreads, 0, stream, params.sequence_offset_B1, params.num_sequences,
         blocks.first_block_B1);
  launch(sum_blocks<T>, grid, kThreads, (experts + 1) * sizeof(unsigned), stream, params, blocks,
         experts_per_pass);
  launch(sum_sequences<T>, num_blocks(params.num_sequences * num_experts, kThreads) + 1, kThreads,
         0, stream, params, blocks);
  launch(scan_blocks, num_blocks(num_experts, 1), kThreads, 0, stream, blocks, params.num_sequences,
         num_experts);
  launch(place_rows<T>, std::max(1U, grid), kBlockTokens, experts * (1 + kMaskWords) * sizeof(int),
         stream, params, blocks);
}

}  // namespace

void route_rows(const RouteRowsParams<float>& params, Stream stream) {
  run(params, stream);
}
void route_rows(const RouteRowsParams<double>& params, Stream stream) {
  run(params, stream);
}

}  // namespace switchyard::kernels::cuda
