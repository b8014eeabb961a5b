// One warp copies one row, several loads in flight per lane.
#include "switchyard/kernels/row_gather.h"

#include <cstdint>

#include "cuda/device.cuh"

namespace switchyard::kernels::cuda {
namespace {

constexpr int kLoads = 4;  // in flight per lane

template <typename Unit>
__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock) gather_rows(RowGatherParams params) {
  const std::int64_t row = row_of_warp();
  if (row >= params.padded_rows) return;
  const auto size = params.row_bytes / static_cast<std::int64_t>(sizeof(Unit));
  Unit* out = reinterpret_cast<Unit*>(params.out) + row * size;
  if (row >= params.num_rows) {
    for (std::int64_t i = threadIdx.x; i < size; i += kWarpSize) out[i] = Unit{};
    return;
  }
  const Unit* in = reinterpret_cast<const Unit*>(params.x) + params.row_token_N[row] * size;
  for (std::int64_t begin = threadIdx.x; begin < size; begin += kLoads * kWarpSize) {
    Unit units[kLoads];
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      if (begin + i * kWarpSize < size) units[i] = in[begin + i * kWarpSize];
    }
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      if (begin + i * kWarpSize < size) out[begin + i * kWarpSize] = units[i];
    }
  }
}

template <typename Unit>
void gather(const RowGatherParams& params, Stream stream) {
  launch(gather_rows<Unit>, num_blocks(params.padded_rows, kRowsPerBlock), kRowBlock, 0, stream,
         params);
}

}  // namespace

void row_gather(const RowGatherParams& params, Stream stream) {
  if (params.row_bytes == 0) return;
  // The largest unit that divides all addresses.
  const auto addresses = reinterpret_cast<std::uintptr_t>(params.x) |
                         reinterpret_cast<std::uintptr_t>(params.out) |
                         static_cast<std::uintptr_t>(params.row_bytes);
  if (addresses % sizeof(uint4) == 0) {
    gather<uint4>(params, stream);
  } else if (addresses % sizeof(std::uint32_t) == 0) {
    gather<std::uint32_t>(params, stream);
  } else if (addresses % sizeof(std::uint16_t) == 0) {
    gather<std::uint16_t>(params, stream);
  } else {
    gather<std::uint8_t>(params, stream);
  }
}

}  // namespace switchyard::kernels::cuda
