// One warp multiplies a matrix with itself on the stand-in for tensor cores, rightly and with one
// mistake each.
#include <cuda_bf16.h>
#include <mma.h>

#include "cuda/launch.cuh"
#include "support/gpu_simulator/tests/kernels.h"

namespace switchyard::gpu_simulator::testing {
namespace {

namespace wmma = nvcuda::wmma;
using kernels::Stream;
using kernels::cuda::launch;

constexpr int kSide = 16;
constexpr int kLanes = 32;

using Left = wmma::fragment<wmma::matrix_a, 16, 16, 16, __nv_bfloat16, wmma::row_major>;
template <typename Layout>
using Right = wmma::fragment<wmma::matrix_b, 16, 16, 16, __nv_bfloat16, Layout>;
using Sums = wmma::fragment<wmma::accumulator, 16, 16, 16, float>;

enum class Mistake {
  none,
  assumes_places,
  no_fill,
  no_barrier,
  off_alignment,
  rows_off_alignment,
  half_a_warp,
  two_matrices,
};

template <Mistake kMistake, typename Layout>
__global__ void multiply_kernel(Arrays arrays) {
  constexpr int kStride = kSide + (kMistake == Mistake::rows_off_alignment ? 4 : 8);
  struct alignas(32) Tiles {
    __nv_bfloat16 matrix[kSide * kStride + 16];
    float product[kSide * kSide];
  };
  __shared__ Tiles tiles;
  const int lane = static_cast<int>(threadIdx.x);
  for (int i = lane; i < kSide * kStride + 16; i += kLanes) {
    const int row = i / kStride;
    const int column = i % kStride;
    const bool is_element = row < kSide && column < kSide;
    tiles.matrix[i] =
        __float2bfloat16_rn(is_element ? static_cast<float>(arrays.in[row * kSide + column]) : 0);
  }
  __syncwarp();
  Left left;
  Right<Layout> right;
  const int skip = kMistake == Mistake::off_alignment                ? 8
                   : kMistake == Mistake::two_matrices && lane == 17 ? 16
                                                                     : 0;
  wmma::load_matrix_sync(left, tiles.matrix + skip, kStride);
  wmma::load_matrix_sync(right, tiles.matrix, kStride);
  Sums sums;
  if constexpr (kMistake != Mistake::no_fill) wmma::fill_fragment(sums, 0.5F);
  if (kMistake != Mistake::half_a_warp || lane < kLanes / 2) {
    wmma::mma_sync(sums, left, right, sums);
  }
  for (float& sum : sums.x) sum *= 2.0F;
  if constexpr (kMistake == Mistake::assumes_places) {
    // As one generation of GPUs has it: two neighbours in each of two rows and two halves.
    for (int i = 0; i < sums.num_elements; ++i) {
      const int row = lane / 4 + i % 4 / 2 * 8;
      const int column = lane % 4 * 2 + i % 2 + i / 4 * 8;
      tiles.product[row * kSide + column] = sums.x[i];
    }
  } else {
    wmma::store_matrix_sync(tiles.product, sums, kSide, wmma::mem_row_major);
  }
  if constexpr (kMistake != Mistake::no_barrier) __syncwarp();
  for (int i = lane; i < kSide * kSide; i += kLanes) {
    arrays.out[i] = static_cast<int>(tiles.product[i]);
  }
}

// The whole matrix begins at element 16 of what is 256 long.
__global__ void load_past_end_kernel(Arrays arrays) {
  Sums sums;
  const auto* memory = reinterpret_cast<const float*>(arrays.in);
  wmma::load_matrix_sync(sums, memory + kSide, kSide, wmma::mem_row_major);
  arrays.out[threadIdx.x] = static_cast<int>(sums.x[0]);
}

template <Mistake kMistake, typename Layout = wmma::col_major>
void multiply(const Arrays& arrays) {
  launch(multiply_kernel<kMistake, Layout>, 1, kLanes, 0, Stream{}, arrays);
}

}  // namespace

void multiply_by_transposed(const Arrays& arrays) {
  multiply<Mistake::none>(arrays);
}
void multiply_by_itself(const Arrays& arrays) {
  multiply<Mistake::none, wmma::row_major>(arrays);
}
void assume_places_of_elements(const Arrays& arrays) {
  multiply<Mistake::assumes_places>(arrays);
}
void add_to_nothing(const Arrays& arrays) {
  multiply<Mistake::no_fill>(arrays);
}
void read_sums_without_barrier(const Arrays& arrays) {
  multiply<Mistake::no_barrier>(arrays);
}
void matrix_off_alignment(const Arrays& arrays) {
  multiply<Mistake::off_alignment>(arrays);
}
void matrix_rows_off_alignment(const Arrays& arrays) {
  multiply<Mistake::rows_off_alignment>(arrays);
}
void half_a_warp_multiplies(const Arrays& arrays) {
  multiply<Mistake::half_a_warp>(arrays);
}
void lanes_name_two_matrices(const Arrays& arrays) {
  multiply<Mistake::two_matrices>(arrays);
}
void matrix_past_end(const Arrays& arrays) {
  launch(load_past_end_kernel, 1, kLanes, 0, Stream{}, arrays);
}

}  // namespace switchyard::gpu_simulator::testing
