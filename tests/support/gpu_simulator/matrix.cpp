#include "support/gpu_simulator/matrix.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <random>

#include "support/gpu_simulator/schedule.h"

namespace switchyard::gpu_simulator {
namespace {

constexpr unsigned kElements = kMatrixSide * kMatrixSide;
static_assert(kElements == kWarp * kMatrixElementsOfLane);
constexpr std::size_t kNumParts = 5;

using Matrix = std::array<float, kElements>;  // by rows
// Of a part, the element that each lane's each place holds.
using Mapping = std::array<std::uint8_t, kElements>;

const Mapping& mapping_of(MatrixPart part) {
  static std::array<Mapping, kNumParts> mappings;
  static std::uint64_t drawn_from = 0;
  static bool is_drawn = false;
  if (!is_drawn || drawn_from != seed()) {  // launches take place one after the other
    std::mt19937_64 random(seed());
    for (Mapping& mapping : mappings) {
      std::iota(mapping.begin(), mapping.end(), std::uint8_t{0});
      std::shuffle(mapping.begin(), mapping.end(), random);
    }
    drawn_from = seed();
    is_drawn = true;
  }
  return mappings[static_cast<std::size_t>(part)];
}

float to_float(float value) {
  return value;
}
float to_float(unsigned short bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

template <typename T>
void gather(MatrixPart part, unsigned lane, const T* elements, Matrix& matrix) {
  const std::uint8_t* place = mapping_of(part).data() + lane * kMatrixElementsOfLane;
  for (unsigned i = 0; i < kMatrixElementsOfLane; ++i) matrix[place[i]] = to_float(elements[i]);
}

void multiply(const std::array<WarpLane*, kWarp>& lanes) {
  const auto product_of = [&](unsigned lane) -> const MatrixProduct& {
    return *reinterpret_cast<const MatrixProduct*>(lanes[lane]->request.value);
  };
  Matrix a{};
  Matrix b{};
  Matrix sums{};
  for (unsigned lane = 0; lane < kWarp; ++lane) {
    const MatrixProduct& product = product_of(lane);
    gather(product.a_part, lane, product.a, a);
    gather(product.b_part, lane, product.b, b);
    gather(MatrixPart::sums, lane, product.c, sums);
  }
  for (unsigned row = 0; row < kMatrixSide; ++row) {
    for (unsigned k = 0; k < kMatrixSide; ++k) {
      const float left = a[row * kMatrixSide + k];
      for (unsigned column = 0; column < kMatrixSide; ++column) {
        sums[row * kMatrixSide + column] += left * b[k * kMatrixSide + column];
      }
    }
  }
  for (unsigned lane = 0; lane < kWarp; ++lane) {
    const std::uint8_t* place = mapping_of(MatrixPart::sums).data() + lane * kMatrixElementsOfLane;
    for (unsigned i = 0; i < kMatrixElementsOfLane; ++i) product_of(lane).d[i] = sums[place[i]];
  }
}

}  // namespace

std::string complete_matrix_op(const std::array<WarpLane*, kWarp>& lanes) {
  const WarpRequest& first = lanes[0]->request;
  if (first.op == WarpOp::matrix_product) {
    multiply(lanes);
    return {};
  }
  for (unsigned lane = 1; lane < kWarp; ++lane) {
    const WarpRequest& other = lanes[lane]->request;
    if (other.value != first.value || other.argument != first.argument ||
        other.width != first.width) {
      return fmt::format("lanes 0 and {} name different matrices in memory", lane);
    }
  }
  return {};
}

MatrixPlace matrix_place(MatrixPart part, unsigned i) {
  const unsigned lane = running_thread()->thread % kWarp;
  const unsigned element = mapping_of(part)[lane * kMatrixElementsOfLane + i];
  return {element / kMatrixSide, element % kMatrixSide};
}

void meet_at_matrix(const MatrixInMemory& matrix, std::source_location where) {
  constexpr std::uintptr_t kAlignment = 32;  // of the first element; of rows or columns half of it
  const auto address = reinterpret_cast<std::uintptr_t>(matrix.begin);
  if (address % kAlignment != 0 || matrix.stride_bytes % (kAlignment / 2) != 0) {
    fail(fmt::format(
        "thread {} in {} at {}: a matrix at {} with {} bytes from row to row; a multiple of {} and "
        "one of {} are needed",
        thread_name(running_thread()->thread), name(matrix.op), place_name(where), matrix.begin,
        matrix.stride_bytes, kAlignment, kAlignment / 2));
  }
  warp_collective({.op = matrix.op,
                   .mask = ~0U,
                   .value = address,
                   .argument = static_cast<unsigned>(matrix.stride_bytes),
                   .width = matrix.by_rows ? 1U : 0U,
                   .where = where});
}

void multiply_matrices(const MatrixProduct& product, std::source_location where) {
  warp_collective({.op = WarpOp::matrix_product,
                   .mask = ~0U,
                   .value = reinterpret_cast<std::uintptr_t>(&product),
                   .where = where});
}

}  // namespace switchyard::gpu_simulator
