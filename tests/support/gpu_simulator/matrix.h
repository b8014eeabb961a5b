// What the lanes of a warp do together in its matrix functions.
#pragma once

#include <array>
#include <string>

#include "support/gpu_simulator/simulator.h"
#include "support/gpu_simulator/warp.h"

namespace switchyard::gpu_simulator {

[[nodiscard]] constexpr bool is_matrix_op(WarpOp op) {
  return op == WarpOp::matrix_load || op == WarpOp::matrix_store || op == WarpOp::matrix_product;
}

// All lanes have come. Returns what they did wrong.
std::string complete_matrix_op(const std::array<WarpLane*, kWarp>& lanes);

}  // namespace switchyard::gpu_simulator
