// Stands in for CUDA's warp matrix functions on the simulated GPU: products of 16 x 16 matrices of
// bf16 with sums in fp32. Which lane holds which element is not specified, so here the seed draws
// it: code that relies on one mapping gives other results. All lanes of a warp must come, with the
// same memory; nothing here orders memory, which __syncwarp does.
#pragma once

#include <cstddef>
#include <cstring>
#include <source_location>
#include <type_traits>

#include "cuda_bf16.h"

namespace nvcuda::wmma {

struct row_major;
struct col_major;
struct matrix_a;
struct matrix_b;
struct accumulator;
enum layout_t { mem_row_major, mem_col_major };

// Holds nothing, NaN, until it is filled, loaded or computed.
template <typename T, switchyard::gpu_simulator::MatrixPart kPart>
struct FragmentOfPart {
  enum { num_elements = switchyard::gpu_simulator::kMatrixElementsOfLane };
  static constexpr auto kMatrixPart = kPart;
  using element_type = T;
  T x[num_elements];

  GPU_SIMULATOR_INTERNAL FragmentOfPart() { std::memset(static_cast<void*>(x), 0xFF, sizeof(x)); }
};

template <typename Use, int m, int n, int k, typename T, typename Layout = void>
class fragment;
template <>
class fragment<matrix_a, 16, 16, 16, __nv_bfloat16, row_major>
    : public FragmentOfPart<__nv_bfloat16, switchyard::gpu_simulator::MatrixPart::left_by_rows> {};
template <>
class fragment<matrix_a, 16, 16, 16, __nv_bfloat16, col_major>
    : public FragmentOfPart<__nv_bfloat16, switchyard::gpu_simulator::MatrixPart::left_by_columns> {
};
template <>
class fragment<matrix_b, 16, 16, 16, __nv_bfloat16, row_major>
    : public FragmentOfPart<__nv_bfloat16, switchyard::gpu_simulator::MatrixPart::right_by_rows> {};
template <>
class fragment<matrix_b, 16, 16, 16, __nv_bfloat16, col_major>
    : public FragmentOfPart<__nv_bfloat16,
                            switchyard::gpu_simulator::MatrixPart::right_by_columns> {};
template <>
class fragment<accumulator, 16, 16, 16, float>
    : public FragmentOfPart<float, switchyard::gpu_simulator::MatrixPart::sums> {};

using Sums16 = fragment<accumulator, 16, 16, 16, float>;

// The element of a matrix in memory that is this lane's i-th.
template <typename Fragment>
GPU_SIMULATOR_INTERNAL inline std::size_t offset_of_element(int i, unsigned ldm, bool by_rows) {
  const switchyard::gpu_simulator::MatrixPlace place =
      switchyard::gpu_simulator::matrix_place(Fragment::kMatrixPart, static_cast<unsigned>(i));
  return by_rows ? std::size_t{place.row} * ldm + place.column
                 : std::size_t{place.column} * ldm + place.row;
}

template <typename Use, typename Layout>
void load_matrix_sync(fragment<Use, 16, 16, 16, __nv_bfloat16, Layout>& to,
                      const __nv_bfloat16* memory, unsigned ldm,
                      std::source_location where = std::source_location::current()) {
  constexpr bool kByRows = std::is_same_v<Layout, row_major>;
  switchyard::gpu_simulator::meet_at_matrix(
      {switchyard::gpu_simulator::WarpOp::matrix_load, memory, ldm * sizeof(*memory), kByRows},
      where);
  for (int i = 0; i < to.num_elements; ++i) {
    to.x[i] = memory[offset_of_element<std::remove_reference_t<decltype(to)>>(i, ldm, kByRows)];
  }
}
inline void load_matrix_sync(Sums16& to, const float* memory, unsigned ldm, layout_t layout,
                             std::source_location where = std::source_location::current()) {
  const bool by_rows = layout == mem_row_major;
  switchyard::gpu_simulator::meet_at_matrix(
      {switchyard::gpu_simulator::WarpOp::matrix_load, memory, ldm * sizeof(*memory), by_rows},
      where);
  for (int i = 0; i < to.num_elements; ++i) {
    to.x[i] = memory[offset_of_element<Sums16>(i, ldm, by_rows)];
  }
}
inline void store_matrix_sync(float* memory, const Sums16& from, unsigned ldm, layout_t layout,
                              std::source_location where = std::source_location::current()) {
  const bool by_rows = layout == mem_row_major;
  switchyard::gpu_simulator::meet_at_matrix(
      {switchyard::gpu_simulator::WarpOp::matrix_store, memory, ldm * sizeof(*memory), by_rows},
      where);
  for (int i = 0; i < from.num_elements; ++i) {
    memory[offset_of_element<Sums16>(i, ldm, by_rows)] = from.x[i];
  }
}

template <typename T, switchyard::gpu_simulator::MatrixPart kPart>
void fill_fragment(FragmentOfPart<T, kPart>& to, const std::type_identity_t<T>& value) {
  for (T& element : to.x) element = value;
}

template <typename LayoutOfA, typename LayoutOfB>
void mma_sync(Sums16& d, const fragment<matrix_a, 16, 16, 16, __nv_bfloat16, LayoutOfA>& a,
              const fragment<matrix_b, 16, 16, 16, __nv_bfloat16, LayoutOfB>& b, const Sums16& c,
              std::source_location where = std::source_location::current()) {
  switchyard::gpu_simulator::multiply_matrices({.a_part = a.kMatrixPart,
                                                .b_part = b.kMatrixPart,
                                                .a = &a.x[0].bits,
                                                .b = &b.x[0].bits,
                                                .c = c.x,
                                                .d = d.x},
                                               where);
}

}  // namespace nvcuda::wmma
