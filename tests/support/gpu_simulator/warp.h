// What lanes that met in a warp intrinsic get from it.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "support/gpu_simulator/simulator.h"

namespace switchyard::gpu_simulator {

inline constexpr unsigned kWarp = 32;

struct WarpLane {
  WarpRequest request;
  std::uint64_t result = 0;
};

const char* name(WarpOp op);

// Fills the results of the lanes in the mask; the others are null. Returns what they did wrong.
std::string complete_collective(const std::array<WarpLane*, kWarp>& lanes, unsigned mask);

}  // namespace switchyard::gpu_simulator
