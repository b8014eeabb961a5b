// Small matrix products on tiles that are in cache: registers hold a block of rows x 64 bytes, in
// vectors of kBytes, which the callers choose by the CPU (switchyard/kernels/simd.h).
#pragma once

#include <cstdint>

namespace switchyard::kernels::cpu {

// The columns of a tile are padded to this many elements (64 bytes).
template <typename T>
inline constexpr std::int64_t kLanes = 64 / static_cast<std::int64_t>(sizeof(T));

template <typename T>
[[nodiscard]] constexpr std::int64_t round_to_lanes(std::int64_t n) {
  return (n + kLanes<T> - 1) / kLanes<T> * kLanes<T>;
}

// Element (row, col) is data[row * row_stride + col * col_stride]: a matrix or its transpose.
template <typename T>
struct TileView {
  const T* data = nullptr;
  std::int64_t row_stride = 0;
  std::int64_t col_stride = 1;
};

struct TileSize {
  std::int64_t rows = 0;
  std::int64_t cols = 0;  // a multiple of kLanes
  std::int64_t inner = 0;
};

template <typename T, int kBytes>
struct TileVector {
  // Unaligned, and allowed to alias the elements it is loaded from.
  typedef T type __attribute__((vector_size(kBytes), aligned(alignof(T)), may_alias));
};

template <int kRows, bool kAdd, int kBytes, typename T>
[[gnu::always_inline]] inline void matmul_rows(const T* a, std::int64_t a_row, std::int64_t a_col,
                                               const T* b, std::int64_t b_row, T* c,
                                               std::int64_t c_row, std::int64_t cols,
                                               std::int64_t inner) {
  using Vector = typename TileVector<T, kBytes>::type;
  constexpr int kParts = 64 / kBytes;
  for (std::int64_t col = 0; col < cols; col += kLanes<T>) {
    Vector sum[kRows][kParts];
#pragma GCC unroll 8
    for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 4
      for (int part = 0; part < kParts; ++part) sum[row][part] = Vector{};
    }
    for (std::int64_t i = 0; i < inner; ++i) {
      const auto* right = reinterpret_cast<const Vector*>(b + i * b_row + col);
#pragma GCC unroll 8
      for (int row = 0; row < kRows; ++row) {
        const T left = a[row * a_row + i * a_col];
#pragma GCC unroll 4
        for (int part = 0; part < kParts; ++part) sum[row][part] += left * right[part];
      }
    }
#pragma GCC unroll 8
    for (int row = 0; row < kRows; ++row) {
      auto* out = reinterpret_cast<Vector*>(c + row * c_row + col);
#pragma GCC unroll 4
      for (int part = 0; part < kParts; ++part) {
        if constexpr (kAdd) {
          out[part] += sum[row][part];
        } else {
          out[part] = sum[row][part];
        }
      }
    }
  }
}

// c[rows, cols] = (kAdd: +=) a[rows, inner] b[inner, cols]; b and c are row-major with the given
// row strides. Inlined, so that it is compiled for the instruction set of its caller.
template <bool kAdd, int kBytes, typename T>
[[gnu::always_inline]] inline void matmul_tile(TileView<T> a, const T* b, std::int64_t b_row, T* c,
                                               std::int64_t c_row, TileSize size) {
  // Six rows: with one row of b and an element of a they fill 15 of the 16 registers of AVX2.
  constexpr int kBlock = 6;
  std::int64_t row = 0;
  for (; row + kBlock <= size.rows; row += kBlock) {
    matmul_rows<kBlock, kAdd, kBytes>(a.data + row * a.row_stride, a.row_stride, a.col_stride, b,
                                      b_row, c + row * c_row, c_row, size.cols, size.inner);
  }
  const T* a_rest = a.data + row * a.row_stride;
  T* c_rest = c + row * c_row;
  std::int64_t left = size.rows - row;
  for (; left >= 2; left -= 2) {
    matmul_rows<2, kAdd, kBytes>(a_rest, a.row_stride, a.col_stride, b, b_row, c_rest, c_row,
                                 size.cols, size.inner);
    a_rest += 2 * a.row_stride;
    c_rest += 2 * c_row;
  }
  if (left == 1) {
    matmul_rows<1, kAdd, kBytes>(a_rest, a.row_stride, a.col_stride, b, b_row, c_rest, c_row,
                                 size.cols, size.inner);
  }
}

}  // namespace switchyard::kernels::cpu
