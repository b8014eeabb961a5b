// Runs CUDA kernels without a GPU. The same .cu files are compiled as C++ against the headers in
// include/, where every CUDA thread becomes a fibre: it runs until it reaches a barrier or a warp
// intrinsic, and which fibre runs next is drawn from a printed seed.
//
// Two builds watch the memory: check_addresses.cpp (address and undefined-behaviour sanitizers) and
// check_races.cpp (compiled with -fsanitize=thread, whose callbacks are ours, not libtsan's).
//
// Device memory is memory.cpp: the simulated device of whole programs has another, which the host
// cannot touch. This header is what the CUDA headers and the tests see of the simulator. Host
// threads may launch at the same time; the launches take place one after the other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <source_location>
#include <stdexcept>
#include <string>

// In front of functions that the race check must not see: they belong to the simulator.
#define GPU_SIMULATOR_INTERNAL __attribute__((no_sanitize("thread")))

namespace switchyard::gpu_simulator {

// A kernel did what CUDA does not allow. Names the kernel, the block, the threads and the place.
class KernelError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct Index3 {
  unsigned x = 1;
  unsigned y = 1;
  unsigned z = 1;
};

// Where the running thread is: threadIdx, blockIdx, blockDim and gridDim.
struct Position {
  Index3 thread{0, 0, 0};
  Index3 block{0, 0, 0};
  Index3 block_dim;
  Index3 grid_dim;
};
extern Position g_position;  // of the running thread

// __syncthreads. `votes` counts the threads whose predicate is true: __syncthreads_count and kin.
int block_barrier(bool predicate, std::source_location where);

enum class WarpOp {
  barrier,  // __syncwarp: the only one that orders memory, as on a GPU
  shuffle,
  shuffle_up,
  shuffle_down,
  shuffle_xor,
  ballot,
  match_any,
  reduce_add,
  reduce_min,
  reduce_max,
  reduce_and,
  reduce_or,
  matrix_load,
  matrix_store,
  matrix_product,
};

struct WarpRequest {
  WarpOp op = WarpOp::barrier;
  unsigned mask = 0;
  std::uint64_t value = 0;  // the lane's operand, sign-extended where it is signed
  unsigned argument = 0;    // of a shuffle: source lane, distance or lane mask
  unsigned width = 32;
  std::source_location where;
};

// Waits for all lanes of the mask, which must ask for the same at the same place.
std::uint64_t warp_collective(const WarpRequest& request);

// ---- Warp matrix functions: matrices of 16 x 16, spread over the lanes of a warp.

inline constexpr unsigned kMatrixSide = 16;
inline constexpr unsigned kMatrixElementsOfLane = 8;
enum class MatrixPart { left_by_rows, left_by_columns, right_by_rows, right_by_columns, sums };

// Where the running lane's i-th element of a matrix lies. Drawn from the seed: on a GPU it is not
// specified.
struct MatrixPlace {
  unsigned row = 0;
  unsigned column = 0;
};
MatrixPlace matrix_place(MatrixPart part, unsigned i);

struct MatrixInMemory {
  WarpOp op = WarpOp::matrix_load;
  const void* begin = nullptr;
  std::size_t stride_bytes = 0;  // between rows or columns
  bool by_rows = true;
};
// Waits for all lanes of the warp, which must name the same matrix. Throws KernelError for what is
// not aligned as CUDA asks.
void meet_at_matrix(const MatrixInMemory& matrix, std::source_location where);

// d = a b + c: a lane's elements, a and b in bf16. d may be c.
struct MatrixProduct {
  MatrixPart a_part = MatrixPart::left_by_rows;
  MatrixPart b_part = MatrixPart::right_by_rows;
  const unsigned short* a = nullptr;
  const unsigned short* b = nullptr;
  const float* c = nullptr;
  float* d = nullptr;
};
void multiply_matrices(const MatrixProduct& product, std::source_location where);

// Before an atomic operation on device memory.
void check_atomic(const void* address, std::size_t bytes);

// The dynamic shared memory of the running block.
void* dynamic_shared_memory();

struct KernelCall {
  const void* kernel = nullptr;
  void (*invoke)(const void* arguments) = nullptr;
  const void* arguments = nullptr;  // copied onto the stack of every fibre
  std::size_t argument_bytes = 0;
};
struct LaunchShape {
  Index3 grid;
  Index3 block;
  std::size_t shared_bytes = 0;
};
// False: a GPU would refuse the shape. Throws KernelError.
bool run_kernel(const KernelCall& call, const LaunchShape& shape);
// Of the kernel's __shared__ variables. They and the dynamic shared memory together have 48 KiB.
std::size_t own_shared_bytes(const void* kernel);
// As cudaFuncSetAttribute: lets a kernel have so much dynamic shared memory, however large its own.
void allow_shared_bytes(const void* kernel, std::size_t bytes);

// Device memory: filled with 0xFF, surrounded by bands that no kernel may touch.
void* allocate(std::size_t bytes);
void release(void* memory);
// Throws KernelError unless the bytes lie in one allocation.
void check_device_range(const void* memory, std::size_t bytes, const char* what);
// Where the host reads and writes what is at a device address.
void* host_view(void* memory);
const void* host_view(const void* memory);
// The host wrote these bytes.
void mark_initialised(void* memory, std::size_t bytes);
// The host waits for the device (cudaStreamSynchronize), or gets a copy of what is there.
void count_host_wait();
void count_copy_to_host();

// Name of the function or variable at an address of this program; demangled.
std::string name_of(const void* address);

// The seed of everything that is shuffled: SWITCHYARD_GPU_SIMULATOR_SEED, else a random one.
std::uint64_t seed();
void set_seed(std::uint64_t seed);

}  // namespace switchyard::gpu_simulator
