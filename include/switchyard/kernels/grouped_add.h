// Adds values to sums, group by group, and leaves out groups that have no rows: what a grouped
// product wrote for them, if anything, means nothing.
#pragma once

#include <cstdint>

#include "switchyard/kernels/bfloat16.h"
#include "switchyard/kernels/stream.h"

namespace switchyard::kernels {

template <typename T>
struct GroupedAddParams {
  std::int64_t num_groups = 0;                  // G, at most 65535
  const std::int32_t* row_offset_G1 = nullptr;  // [G+1] group g has rows [offset[g], offset[g+1])
  std::int64_t group_size = 0;                  // M
  const T* value_GM = nullptr;                  // [G, M]; of groups without rows not read
  accumulation_t<T>* sum_GM = nullptr;          // [G, M] added to; of groups without rows kept
};

namespace cpu {
void grouped_add(const GroupedAddParams<float>& params);
void grouped_add(const GroupedAddParams<double>& params);
void grouped_add(const GroupedAddParams<BFloat16>& params);
}  // namespace cpu

namespace cuda {
void grouped_add(const GroupedAddParams<float>& params, Stream stream);
void grouped_add(const GroupedAddParams<double>& params, Stream stream);
void grouped_add(const GroupedAddParams<BFloat16>& params, Stream stream);
}  // namespace cuda

}  // namespace switchyard::kernels
