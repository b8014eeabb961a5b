// Tokens are sorted by their row of the table (stable, eight bits at a time); then one warp per row
// that occurs adds up its gradients in ascending token, as the CPU does: the same bits.
#include "switchyard/kernels/embedding.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <utility>

#include "cuda/wide_values.cuh"

namespace switchyard::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarpSize;
constexpr int kDigitBits = 8;
constexpr int kDigits = 1 << kDigitBits;
static_assert(kDigits == kThreads);
constexpr int kTileTokens = 8 * kThreads;
constexpr int kWarpTokens = kTileTokens / kWarps;  // neighbours, so that the sort is stable

// One pass of the sort. Entries are tokens; the first pass finds them in their natural order.
struct Pass {
  const std::int64_t* token_T;
  std::int64_t num_tokens;
  const std::int32_t* order_T;  // null: ascending
  int shift;

  [[nodiscard]] __device__ std::int32_t entry(std::int64_t i) const {
    return order_T == nullptr ? static_cast<std::int32_t>(i) : order_T[i];
  }
  [[nodiscard]] __device__ int digit(std::int32_t entry) const {
    return static_cast<int>(token_T[entry] >> shift & (kDigits - 1));
  }
};

// count[digit][tile].
__global__ void __launch_bounds__(kThreads) count_digits(Pass pass, std::int32_t* count) {
  __shared__ int count_of_digit[kDigits];
  count_of_digit[threadIdx.x] = 0;
  __syncthreads();
  const std::int64_t begin = static_cast<std::int64_t>(blockIdx.x) * kTileTokens;
  const std::int64_t end = std::min(begin + kTileTokens, pass.num_tokens);
  for (std::int64_t i = begin + threadIdx.x; i < end; i += kThreads) {
    atomicAdd(&count_of_digit[pass.digit(pass.entry(i))], 1);
  }
  __syncthreads();
  count[static_cast<std::int64_t>(threadIdx.x) * gridDim.x + blockIdx.x] =
      count_of_digit[threadIdx.x];
}

// Counts become the position of the first such entry. One block.
__global__ void __launch_bounds__(kThreads) scan_counts(std::int32_t* count, std::int64_t size) {
  __shared__ std::int32_t per_warp[kWarps];
  std::int32_t base = 0;
  for (std::int64_t begin = 0; begin < size; begin += kThreads) {
    const std::int64_t i = begin + threadIdx.x;
    std::int32_t total = 0;
    const std::int32_t before = exclusive_scan<kThreads>(i < size ? count[i] : 0, per_warp, total);
    if (i < size) count[i] = base + before;
    base += total;
    __syncthreads();  // per_warp was read
  }
}

// Calls place(entry, digit, peers) for the entries of a warp, 32 at a time; `peers` are the lanes
// with the same digit.
template <typename Place>
__device__ __forceinline__ void for_each_entry(const Pass& pass, const Place& place) {
  const std::int64_t warp = threadIdx.x / kWarpSize;
  const std::int64_t begin =
      static_cast<std::int64_t>(blockIdx.x) * kTileTokens + warp * kWarpTokens;
  const std::int64_t end = std::min(begin + kWarpTokens, pass.num_tokens);
  for (std::int64_t first = begin; first < end; first += kWarpSize) {
    const std::int64_t i = first + threadIdx.x % kWarpSize;
    const std::int32_t entry = i < end ? pass.entry(i) : 0;
    const int digit = i < end ? pass.digit(entry) : -1;
    const unsigned peers = __match_any_sync(kFullWarp, digit);
    place(entry, digit, peers);
    __syncwarp();
  }
}

__global__ void __launch_bounds__(kThreads)
    place_entries(Pass pass, const std::int32_t* first, std::int32_t* sorted_T) {
  __shared__ std::int32_t next[kWarps][kDigits];
  const unsigned warp = threadIdx.x / kWarpSize;
  const unsigned lane = threadIdx.x % kWarpSize;
  for (int w = 0; w < kWarps; ++w) next[w][threadIdx.x] = 0;
  __syncthreads();
  const auto is_leader = [lane](unsigned peers) {
    return lane == static_cast<unsigned>(__ffs(static_cast<int>(peers)) - 1);
  };
  for_each_entry(pass, [&](std::int32_t /*entry*/, int digit, unsigned peers) {
    if (digit >= 0 && is_leader(peers)) next[warp][digit] += __popc(peers);
  });
  __syncthreads();
  std::int32_t position = first[static_cast<std::int64_t>(threadIdx.x) * gridDim.x + blockIdx.x];
  for (int w = 0; w < kWarps; ++w) {
    const std::int32_t count = next[w][threadIdx.x];
    next[w][threadIdx.x] = position;
    position += count;
  }
  __syncthreads();
  for_each_entry(pass, [&](std::int32_t entry, int digit, unsigned peers) {
    if (digit >= 0) {
      sorted_T[next[warp][digit] + __popc(peers & ((1U << lane) - 1))] = entry;
    }
    __syncwarp();  // everyone has read
    if (digit >= 0 && is_leader(peers)) next[warp][digit] += __popc(peers);
  });
}

// Block x: kRowsPerBlock sorted entries, block y: columns. The warp of the first entry of a row of
// the table adds all of them.
template <typename Storage, int kCount>
__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock)
    add_gradients(EmbeddingBackwardParams<Storage> params, const std::int32_t* sorted_T) {
  const std::int64_t start = row_of_warp();
  if (start >= params.num_tokens) return;
  const std::int64_t row = params.token_T[sorted_T[start]];
  if (start > 0 && params.token_T[sorted_T[start - 1]] == row) return;
  const std::int64_t h = (static_cast<std::int64_t>(blockIdx.y) * kWarpSize + threadIdx.x) * kCount;
  const bool has_columns = h < params.row_size;
  accumulation_t<Storage>* out = params.dweight_VH + row * params.row_size + h;
  Values<Storage, kCount> sums{};
  if (has_columns) sums = load_wide<Storage, kCount>(out);
  int count = kWarpSize;
  for (std::int64_t first = start; count == kWarpSize; first += kWarpSize) {
    const std::int64_t i = first + threadIdx.x;
    const std::int32_t token = i < params.num_tokens ? sorted_T[i] : -1;
    const bool is_of_row = token >= 0 && params.token_T[token] == row;
    count = __popc(__ballot_sync(kFullWarp, is_of_row));
#pragma unroll 8
    for (int j = 0; j < count; ++j) {
      const std::int64_t t = __shfl_sync(kFullWarp, token, j);
      if (!has_columns) continue;
      const auto values = load_values<kCount>(params.dy_TH + t * params.row_size + h);
#pragma unroll
      for (int c = 0; c < kCount; ++c) sums.at[c] += values.at[c];
    }
  }
  if (has_columns) store_wide(sums, out);
}

template <typename Storage>
void run(const EmbeddingBackwardParams<Storage>& params, Stream stream) {
  if (params.num_tokens == 0) return;
  const unsigned tiles = num_blocks(params.num_tokens, kTileTokens);
  (void)num_blocks(params.num_tokens, 1);  // throws when tokens do not fit in int32
  const std::int64_t num_counts = std::int64_t{tiles} * kDigits;
  Scratch scratch(2 * Scratch::bytes_of<std::int32_t>(params.num_tokens) +
                      Scratch::bytes_of<std::int32_t>(num_counts),
                  stream);
  auto* sorted_T = scratch.take<std::int32_t>(params.num_tokens);
  auto* order_T = scratch.take<std::int32_t>(params.num_tokens);
  auto* count = scratch.take<std::int32_t>(num_counts);
  const int bits = std::bit_width(static_cast<std::uint64_t>(params.vocab_size - 1));
  Pass pass{params.token_T, params.num_tokens, nullptr, 0};
  do {
    launch(count_digits, tiles, kThreads, 0, stream, pass, count);
    launch(scan_counts, 1, kThreads, 0, stream, count, num_counts);
    launch(place_entries, tiles, kThreads, 0, stream, pass, count, sorted_T);
    std::swap(sorted_T, order_T);
    pass.order_T = order_T;
    pass.shift += kDigitBits;
  } while (pass.shift < bits);

  const bool packs = fits_packs<Storage>(params.row_size, params.dy_TH, params.dweight_VH);
  const int columns = kWarpSize * (packs ? kPackSize<Storage> : 1);
  launch(packs ? add_gradients<Storage, kPackSize<Storage>> : add_gradients<Storage, 1>,
         dim3(num_blocks(params.num_tokens, kRowsPerBlock), num_blocks(params.row_size, columns)),
         kRowBlock, 0, stream, params, order_T);
}

}  // namespace

void embedding_backward(const EmbeddingBackwardParams<float>& params, Stream stream) {
  run(params, stream);
}
void embedding_backward(const EmbeddingBackwardParams<double>& params, Stream stream) {
  run(params, stream);
}
void embedding_backward(const EmbeddingBackwardParams<BFloat16>& params, Stream stream) {
  run(params, stream);
}

}  // namespace switchyard::kernels::cuda
