// One warp per row; a lane draws a Philox counter for every four neighbouring elements.
#include "switchyard/kernels/dropout.h"

#include <cstdint>

#include "cuda/device.cuh"
#include "switchyard/core/philox.h"

namespace switchyard::kernels::cuda {
namespace {

constexpr int kWords = 4;  // of one counter

template <typename Storage, int kCount>
__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock)
    drop_rows(DropoutParams<Storage> params, std::uint32_t threshold) {
  using T = accumulation_t<Storage>;
  const std::int64_t token = row_of_warp();
  if (token >= params.num_tokens) return;
  const auto token_idx = static_cast<std::uint32_t>(params.token_idx_T[token]);
  const T factor = static_cast<T>(1.0 / (1.0 - params.rate));
  const std::int64_t row = token * params.row_size;
  constexpr int kPerLane = kCount > kWords ? kCount : kWords;
  for (std::int64_t h = threadIdx.x * kPerLane; h < params.row_size; h += kWarpSize * kPerLane) {
    PhiloxCounter words{};
#pragma unroll
    for (int begin = 0; begin < kPerLane; begin += kCount) {
      if (h + begin >= params.row_size) break;
      auto values = load_values<kCount>(params.x + row + h + begin);
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        const int word = (begin + i) % kWords;
        if (word == 0) {
          words = philox(params.key, {params.step, params.place, token_idx,
                                      static_cast<std::uint32_t>((h + begin + i) / kWords)});
        }
        const bool is_kept = words[static_cast<unsigned>(word)] >= threshold;
        values.at[i] = is_kept ? values.at[i] * factor : T{0};
      }
      store_values(values, params.y + row + h + begin);
    }
  }
}

template <typename Storage>
void run(const DropoutParams<Storage>& params, Stream stream) {
  const bool packs = fits_packs<Storage>(params.row_size, params.x, params.y);
  launch(packs ? drop_rows<Storage, kPackSize<Storage>> : drop_rows<Storage, 1>,
         num_blocks(params.num_tokens, kRowsPerBlock), kRowBlock, 0, stream, params,
         static_cast<std::uint32_t>(params.rate * 0x1.0p32));
}

}  // namespace

void dropout(const DropoutParams<float>& params, Stream stream) {
  run(params, stream);
}
void dropout(const DropoutParams<double>& params, Stream stream) {
  run(params, stream);
}
void dropout(const DropoutParams<BFloat16>& params, Stream stream) {
  run(params, stream);
}

}  // namespace switchyard::kernels::cuda
