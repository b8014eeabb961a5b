#include "switchyard/kernels/grouped_add.h"

#include "switchyard/core/parallel.h"

namespace switchyard::kernels::cpu {
namespace {

constexpr std::int64_t kBlock = 16384;  // elements that one thread adds at a time

template <typename T>
void run(const GroupedAddParams<T>& params) {
  for (std::int64_t g = 0; g < params.num_groups; ++g) {
    if (params.row_offset_G1[g] == params.row_offset_G1[g + 1]) continue;
    const T* value_M = params.value_GM + g * params.group_size;
    accumulation_t<T>* sum_M = params.sum_GM + g * params.group_size;
    parallel_for(params.group_size, kBlock, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) sum_M[i] += load(value_M[i]);
    });
  }
}

}  // namespace

void grouped_add(const GroupedAddParams<float>& params) {
  run(params);
}
void grouped_add(const GroupedAddParams<double>& params) {
  run(params);
}
void grouped_add(const GroupedAddParams<BFloat16>& params) {
  run(params);
}

}  // namespace switchyard::kernels::cpu
