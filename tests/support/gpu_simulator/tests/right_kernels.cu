#include <cuda_bf16.h>

#include "cuda/dynamic_shared.cuh"
#include "cuda/launch.cuh"
#include "support/gpu_simulator/tests/kernels.h"

namespace switchyard::gpu_simulator::testing {
namespace {

using kernels::Stream;
using kernels::cuda::dynamic_shared;
using kernels::cuda::kFullWarp;
using kernels::cuda::launch;

constexpr int kThreads = 64;

__global__ void add_index_kernel(Arrays arrays) {
  const int i = blockIdx.x * kThreads + threadIdx.x;
  if (i < arrays.n) arrays.out[i] = arrays.in[i] + i;
}

template <bool kDynamic>
__global__ void reverse_kernel(Arrays arrays) {
  __shared__ int static_tile[kThreads];
  int* tile = kDynamic ? dynamic_shared<int>() : static_tile;
  const int i = blockIdx.x * kThreads + threadIdx.x;
  tile[threadIdx.x] = arrays.in[i];
  __syncthreads();
  arrays.out[i] = tile[kThreads - 1 - threadIdx.x];
}

__global__ void sum_kernel(Arrays arrays) {
  __shared__ int warp_sums[kThreads / 32];
  int value = arrays.in[blockIdx.x * kThreads + threadIdx.x];
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(kFullWarp, value, step);
  if (threadIdx.x % 32 == 0) warp_sums[threadIdx.x / 32] = value;
  __syncthreads();
  if (threadIdx.x == 0) arrays.out[blockIdx.x] = warp_sums[0] + warp_sums[1];
}

__global__ void count_kernel(Arrays arrays) {
  const int i = blockIdx.x * kThreads + threadIdx.x;
  if (arrays.in[i] % 2 != 0) atomicAdd(arrays.out, 1);
}

__global__ void copy_kernel(Arrays arrays) {
  const int i = blockIdx.x * kThreads + threadIdx.x;
  if (i >= arrays.n / 4) return;
  reinterpret_cast<int4*>(arrays.out)[i] = reinterpret_cast<const int4*>(arrays.in)[i];
}

__global__ void swap_kernel(Arrays arrays) {
  __shared__ int tile[kThreads];
  const int i = blockIdx.x * kThreads + threadIdx.x;
  for (int round = 0; round < 2; ++round) {
    tile[threadIdx.x] = arrays.in[i] + round;
    __syncwarp();
    arrays.out[i] = tile[threadIdx.x ^ 1];
    __syncwarp();
  }
}

__global__ void vote_kernel(Arrays arrays) {
  const int i = blockIdx.x * kThreads + threadIdx.x;
  const bool is_set = arrays.in[i] != 0;
  const int any = __any_sync(kFullWarp, is_set);
  const int all = __all_sync(kFullWarp, is_set);
  arrays.out[i] = any + 2 * all + 4 * __popc(__ballot_sync(kFullWarp, is_set));
}

__global__ void match_kernel(Arrays arrays) {
  const int i = blockIdx.x * kThreads + threadIdx.x;
  arrays.out[i] = static_cast<int>(__match_any_sync(kFullWarp, arrays.in[i]));
}

__global__ void reduce_kernel(Arrays arrays) {
  const int i = blockIdx.x * kThreads + threadIdx.x;
  arrays.out[i] =
      __reduce_max_sync(kFullWarp, arrays.in[i]) - __reduce_min_sync(kFullWarp, arrays.in[i]);
}

__global__ void count_positive_kernel(Arrays arrays) {
  const int i = blockIdx.x * kThreads + threadIdx.x;
  arrays.out[i] = __syncthreads_count(arrays.in[i] > 0);
}

__global__ void shuffle_kernel(Arrays arrays) {
  const int i = blockIdx.x * kThreads + threadIdx.x;
  const int above = __shfl_down_sync(kFullWarp, arrays.in[i], 3, 8);
  const int below = __shfl_up_sync(kFullWarp, arrays.in[i], 1, 8);
  arrays.out[i] = above + 100 * below;
}

__global__ void wide_grid_kernel(int* out) {
  const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  const unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  const unsigned i = block * blockDim.x * blockDim.y * blockDim.z + thread;
  out[i] = static_cast<int>(i);
}

__global__ void bfloat16_kernel(const float* in, float* out, int n) {
  const int i = blockIdx.x * kThreads + threadIdx.x;
  if (i < n) out[i] = __bfloat162float(__float2bfloat16_rn(in[i]));
}

void run(void (*kernel)(Arrays), const Arrays& arrays, std::size_t shared_bytes = 0) {
  launch(kernel, (arrays.n + kThreads - 1) / kThreads, kThreads, shared_bytes, Stream{}, arrays);
}

}  // namespace

void add_index(const Arrays& arrays) {
  run(add_index_kernel, arrays);
}
void reverse_blocks(const Arrays& arrays) {
  run(reverse_kernel<false>, arrays);
}
void reverse_blocks_dynamic(const Arrays& arrays) {
  run(reverse_kernel<true>, arrays, kThreads * sizeof(int));
}
void reverse_blocks_beside_own(const Arrays& arrays, std::size_t shared_bytes) {
  run(reverse_kernel<false>, arrays, shared_bytes);
}
bool starts_without_asking(const Arrays& arrays, std::size_t shared_bytes) {
  return run_kernel(
      {.kernel = reinterpret_cast<const void*>(sum_kernel),
       .invoke = [](const void* arguments) { sum_kernel(*static_cast<const Arrays*>(arguments)); },
       .arguments = &arrays,
       .argument_bytes = sizeof(arrays)},
      {.grid = {static_cast<unsigned>(arrays.n / kThreads), 1, 1},
       .block = {kThreads, 1, 1},
       .shared_bytes = shared_bytes});
}
void sum_blocks(const Arrays& arrays) {
  run(sum_kernel, arrays);
}
void count_odd(const Arrays& arrays) {
  run(count_kernel, arrays);
}
void copy_vectors(const Arrays& arrays) {
  run(copy_kernel, arrays);
}
void swap_in_warp(const Arrays& arrays) {
  run(swap_kernel, arrays);
}
void vote(const Arrays& arrays) {
  run(vote_kernel, arrays);
}
void match(const Arrays& arrays) {
  run(match_kernel, arrays);
}
void reduce(const Arrays& arrays) {
  run(reduce_kernel, arrays);
}
void count_positive_in_block(const Arrays& arrays) {
  run(count_positive_kernel, arrays);
}
void shuffle_in_groups(const Arrays& arrays) {
  run(shuffle_kernel, arrays);
}
void wide_grid(int* out) {
  launch(wide_grid_kernel, dim3(2, 3, 2), dim3(32, 4, 2), 0, Stream{}, out);
}
void round_trip_bfloat16(const float* in, float* out, int n) {
  launch(bfloat16_kernel, (n + kThreads - 1) / kThreads, kThreads, 0, Stream{}, in, out, n);
}

}  // namespace switchyard::gpu_simulator::testing
