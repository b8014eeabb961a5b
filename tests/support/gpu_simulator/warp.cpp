#include "support/gpu_simulator/warp.h"

#include <fmt/format.h>

#include <algorithm>

#include "support/gpu_simulator/matrix.h"

namespace switchyard::gpu_simulator {
namespace {

bool is_shuffle(WarpOp op) {
  return op == WarpOp::shuffle || op == WarpOp::shuffle_up || op == WarpOp::shuffle_down ||
         op == WarpOp::shuffle_xor;
}

// Values of signed operands are sign-extended, so that one comparison serves both.
std::uint64_t combine(WarpOp op, std::uint64_t a, std::uint64_t b) {
  const auto signed_a = static_cast<std::int64_t>(a);
  const auto signed_b = static_cast<std::int64_t>(b);
  switch (op) {
    case WarpOp::reduce_add:
      return a + b;
    case WarpOp::reduce_min:
      return signed_b < signed_a ? b : a;
    case WarpOp::reduce_max:
      return signed_b > signed_a ? b : a;
    case WarpOp::reduce_and:
      return a & b;
    default:
      return a | b;
  }
}

unsigned source_lane(const WarpRequest& request, unsigned lane) {
  const unsigned segment = lane / request.width * request.width;
  const unsigned end = segment + request.width;
  switch (request.op) {
    case WarpOp::shuffle:
      return segment + request.argument % request.width;
    case WarpOp::shuffle_up:
      return lane >= segment + request.argument ? lane - request.argument : lane;
    case WarpOp::shuffle_down:
      return lane + request.argument < end ? lane + request.argument : lane;
    default:
      return (lane ^ request.argument) < end ? lane ^ request.argument : lane;
  }
}

}  // namespace

const char* name(WarpOp op) {
  switch (op) {
    case WarpOp::barrier:
      return "__syncwarp";
    case WarpOp::shuffle:
    case WarpOp::shuffle_up:
    case WarpOp::shuffle_down:
    case WarpOp::shuffle_xor:
      return "a warp shuffle";
    case WarpOp::ballot:
      return "a warp vote";
    case WarpOp::match_any:
      return "a warp match";
    case WarpOp::matrix_load:
      return "load_matrix_sync";
    case WarpOp::matrix_store:
      return "store_matrix_sync";
    case WarpOp::matrix_product:
      return "mma_sync";
    default:
      return "a warp reduction";
  }
}

std::string complete_collective(const std::array<WarpLane*, kWarp>& lanes, unsigned mask) {
  const WarpLane* any =
      *std::find_if(lanes.begin(), lanes.end(), [](auto* lane) { return lane != nullptr; });
  if (is_matrix_op(any->request.op)) return complete_matrix_op(lanes);
  std::uint64_t ballot = 0;
  std::uint64_t total = 0;
  bool is_first = true;
  for (unsigned i = 0; i < kWarp; ++i) {
    if ((mask >> i & 1U) == 0) continue;
    const WarpRequest& request = lanes[i]->request;
    if (request.value != 0) ballot |= std::uint64_t{1} << i;
    total = is_first ? request.value : combine(request.op, total, request.value);
    is_first = false;
  }
  for (unsigned i = 0; i < kWarp; ++i) {
    if ((mask >> i & 1U) == 0) continue;
    const WarpRequest& request = lanes[i]->request;
    std::uint64_t& result = lanes[i]->result;
    if (request.op == WarpOp::ballot) {
      result = ballot;
    } else if (request.op == WarpOp::match_any) {
      result = 0;
      for (unsigned j = 0; j < kWarp; ++j) {
        const bool equal = (mask >> j & 1U) != 0 && lanes[j]->request.value == request.value;
        if (equal) result |= std::uint64_t{1} << j;
      }
    } else if (is_shuffle(request.op)) {
      const unsigned source = source_lane(request, i);
      if ((mask >> source & 1U) == 0) {
        return fmt::format("lane {} shuffles from lane {}, which the mask {:#x} leaves out", i,
                           source, mask);
      }
      result = lanes[source]->request.value;
    } else {
      result = total;
    }
  }
  return {};
}

}  // namespace switchyard::gpu_simulator
