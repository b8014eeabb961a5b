// Every kernel here has one mistake, which the simulator must find.
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

__device__ int index_of_thread() {
  return static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
}

__global__ void missing_barrier_kernel(Arrays arrays) {
  __shared__ int missing_barrier_tile[kThreads];
  missing_barrier_tile[threadIdx.x] = arrays.in[index_of_thread()];
  // here
  arrays.out[index_of_thread()] = missing_barrier_tile[kThreads - 1 - threadIdx.x];
}

__global__ void missing_warp_barrier_kernel(Arrays arrays) {
  __shared__ int tile[kThreads];
  for (int round = 0; round < 2; ++round) {
    tile[threadIdx.x] = arrays.in[index_of_thread()] + round;
    __syncwarp();
    arrays.out[index_of_thread()] = tile[threadIdx.x ^ 1];
    // here: the next round overwrites what a neighbour may not have read
  }
}

__global__ void shuffle_is_no_barrier_kernel(Arrays arrays) {
  __shared__ int tile[kThreads];
  tile[threadIdx.x] = arrays.in[index_of_thread()];
  const int zero = __shfl_sync(kFullWarp, 0, 0);
  arrays.out[index_of_thread()] = tile[threadIdx.x ^ 1] + zero;
}

__global__ void write_past_end_kernel(Arrays arrays) {
  arrays.out[index_of_thread() + 1] = 1;
}

__global__ void read_past_end_kernel(Arrays arrays) {
  arrays.out[index_of_thread()] = arrays.in[index_of_thread() + 1];
}

__global__ void write_past_shared_kernel(Arrays arrays) {
  __shared__ int tile[kThreads];
  tile[threadIdx.x + 1] = arrays.in[index_of_thread()];
  __syncthreads();
  if (threadIdx.x > 0) arrays.out[index_of_thread()] = tile[threadIdx.x];
}

template <typename T>
__global__ void write_past_shared_by_pointer_kernel(Arrays arrays) {
  __shared__ T tile[kThreads];
  T* begin = tile;
  begin[threadIdx.x + 1] = arrays.in[index_of_thread()];
  __syncthreads();
  if (threadIdx.x > 0) arrays.out[index_of_thread()] = tile[threadIdx.x];
}

__global__ void write_past_dynamic_shared_kernel(Arrays arrays) {
  int* tile = dynamic_shared<int>();
  tile[threadIdx.x + 1] = arrays.in[index_of_thread()];
  __syncthreads();
  if (threadIdx.x > 0) arrays.out[index_of_thread()] = tile[threadIdx.x];
}

__global__ void read_uninitialised_shared_kernel(Arrays arrays) {
  __shared__ int tile[kThreads];
  if (threadIdx.x != 7) tile[threadIdx.x] = arrays.in[index_of_thread()];
  __syncthreads();
  arrays.out[index_of_thread()] = tile[kThreads - 1 - threadIdx.x];
}

__global__ void read_uninitialised_dynamic_shared_kernel(Arrays arrays) {
  int* tile = dynamic_shared<int>();
  if (threadIdx.x != 7) tile[threadIdx.x] = arrays.in[index_of_thread()];
  __syncthreads();
  arrays.out[index_of_thread()] = tile[kThreads - 1 - threadIdx.x];
}

__global__ void race_between_threads_kernel(Arrays arrays) {
  arrays.out[0] = arrays.in[index_of_thread()];
}

__global__ void race_between_blocks_kernel(Arrays arrays) {
  const int i = index_of_thread();
  arrays.out[i] = i;
  __syncthreads();
  const int other = (i + kThreads) % arrays.n;  // of the next block
  if (arrays.out[other] == -1) arrays.out[i] = 0;
}

__global__ void race_of_atomic_and_write_kernel(Arrays arrays) {
  if (threadIdx.x == 0) arrays.out[0] = arrays.in[0];
  if (threadIdx.x == 33) atomicAdd(arrays.out, 1);
}

__global__ void second_reader_races_kernel(Arrays arrays) {
  __shared__ int value;
  if (threadIdx.x == 0) value = arrays.in[0];
  __syncthreads();
  const int read = value;
  if (threadIdx.x == 40 && read != -1) value = 0;
  arrays.out[index_of_thread()] = read;
}

__global__ void divergent_barrier_kernel(Arrays arrays) {
  if (threadIdx.x < 32) __syncthreads();
  arrays.out[index_of_thread()] = 0;
}

__global__ void barriers_at_two_places_kernel(Arrays arrays) {
  if (threadIdx.x % 2 == 0) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  arrays.out[index_of_thread()] = 0;
}

__global__ void finished_before_barrier_kernel(Arrays arrays) {
  if (threadIdx.x >= 60) return;
  __syncthreads();
  arrays.out[index_of_thread()] = 0;
}

__global__ void shuffle_from_absent_lane_kernel(Arrays arrays) {
  if (threadIdx.x % 32 < 16) {
    arrays.out[index_of_thread()] = __shfl_sync(0xFFFFU, arrays.in[index_of_thread()], 20);
  }
}

__global__ void half_a_warp_shuffles_kernel(Arrays arrays) {
  if (threadIdx.x % 32 < 16) {
    arrays.out[index_of_thread()] = __shfl_sync(kFullWarp, arrays.in[index_of_thread()], 0);
  }
}

__global__ void misaligned_vector_kernel(Arrays arrays) {
  if (index_of_thread() > 0) return;
  *reinterpret_cast<int4*>(arrays.out + 1) = *reinterpret_cast<const int4*>(arrays.in);
}

__global__ void host_pointer_kernel(Arrays arrays, const int* on_host) {
  arrays.out[index_of_thread()] = *on_host;
}

void run(void (*kernel)(Arrays), const Arrays& arrays, std::size_t shared_bytes = 0) {
  launch(kernel, arrays.n / kThreads, kThreads, shared_bytes, Stream{}, arrays);
}

}  // namespace

void missing_barrier(const Arrays& arrays) {
  run(missing_barrier_kernel, arrays);
}
void missing_warp_barrier(const Arrays& arrays) {
  run(missing_warp_barrier_kernel, arrays);
}
void shuffle_is_no_barrier(const Arrays& arrays) {
  run(shuffle_is_no_barrier_kernel, arrays);
}
void write_past_end(const Arrays& arrays) {
  run(write_past_end_kernel, arrays);
}
void read_past_end(const Arrays& arrays) {
  run(read_past_end_kernel, arrays);
}
void write_past_shared(const Arrays& arrays) {
  run(write_past_shared_kernel, arrays);
}
void write_past_shared_by_pointer(const Arrays& arrays) {
  run(write_past_shared_by_pointer_kernel<int>, arrays);
}
void write_past_dynamic_shared(const Arrays& arrays) {
  run(write_past_dynamic_shared_kernel, arrays, kThreads * sizeof(int));
}
void read_uninitialised_shared(const Arrays& arrays) {
  run(read_uninitialised_shared_kernel, arrays);
}
void read_uninitialised_dynamic_shared(const Arrays& arrays) {
  run(read_uninitialised_dynamic_shared_kernel, arrays, kThreads * sizeof(int));
}
void race_between_threads(const Arrays& arrays) {
  run(race_between_threads_kernel, arrays);
}
void race_between_blocks(const Arrays& arrays) {
  run(race_between_blocks_kernel, arrays);
}
void race_of_atomic_and_write(const Arrays& arrays) {
  run(race_of_atomic_and_write_kernel, arrays);
}
void second_reader_races(const Arrays& arrays) {
  run(second_reader_races_kernel, arrays);
}
void divergent_barrier(const Arrays& arrays) {
  run(divergent_barrier_kernel, arrays);
}
void barriers_at_two_places(const Arrays& arrays) {
  run(barriers_at_two_places_kernel, arrays);
}
void finished_before_barrier(const Arrays& arrays) {
  run(finished_before_barrier_kernel, arrays);
}
void shuffle_from_absent_lane(const Arrays& arrays) {
  run(shuffle_from_absent_lane_kernel, arrays);
}
void half_a_warp_shuffles(const Arrays& arrays) {
  run(half_a_warp_shuffles_kernel, arrays);
}
void misaligned_vector(const Arrays& arrays) {
  run(misaligned_vector_kernel, arrays);
}
void host_pointer(const Arrays& arrays) {
  static const int* const value = new int(3);  // on the heap
  launch(host_pointer_kernel, 1, kThreads, 0, Stream{}, arrays, value);
}
void too_many_threads(const Arrays& arrays) {
  launch(divergent_barrier_kernel, 1, 1025, 0, Stream{}, arrays);
}
void too_much_shared_memory(const Arrays& arrays) {
  launch(divergent_barrier_kernel, 1, kThreads, 228 * 1024, Stream{}, arrays);
}

}  // namespace switchyard::gpu_simulator::testing
