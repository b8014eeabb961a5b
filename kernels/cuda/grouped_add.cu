// One thread adds one pack: the values of all groups with rows are read once, their sums read and
// written once.
#include "switchyard/kernels/grouped_add.h"

#include <cstdint>

#include "cuda/wide_values.cuh"

namespace switchyard::kernels::cuda {
namespace {

constexpr int kThreads = 256;

// Block x: packs of a group, block y: the group.
template <typename Storage, int kCount>
__global__ void __launch_bounds__(kThreads) add(GroupedAddParams<Storage> params) {
  const std::int64_t group = blockIdx.y;
  if (params.row_offset_G1[group] == params.row_offset_G1[group + 1]) return;
  const std::int64_t first =
      (static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kCount;
  if (first >= params.group_size) return;
  const std::int64_t at = group * params.group_size + first;
  const auto values = load_values<kCount>(params.value_GM + at);
  auto sums = load_wide<Storage, kCount>(params.sum_GM + at);
#pragma unroll
  for (int i = 0; i < kCount; ++i) sums.at[i] += values.at[i];
  store_wide(sums, params.sum_GM + at);
}

template <typename Storage>
void run(const GroupedAddParams<Storage>& params, Stream stream) {
  const bool packs = fits_packs<Storage>(params.group_size, params.value_GM, params.sum_GM);
  const std::int64_t per_block = kThreads * (packs ? kPackSize<Storage> : 1);
  launch(packs ? add<Storage, kPackSize<Storage>> : add<Storage, 1>,
         dim3(num_blocks(params.group_size, per_block), num_blocks(params.num_groups, 1)), kThreads,
         0, stream, params);
}

}  // namespace

void grouped_add(const GroupedAddParams<float>& params, Stream stream) {
  run(params, stream);
}
void grouped_add(const GroupedAddParams<double>& params, Stream stream) {
  run(params, stream);
}
void grouped_add(const GroupedAddParams<BFloat16>& params, Stream stream) {
  run(params, stream);
}

}  // namespace switchyard::kernels::cuda
