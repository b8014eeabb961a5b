// How many rows make one unit of parallel work.
#pragma once

#include <algorithm>
#include <cstdint>

namespace switchyard::kernels::cpu {

// About 32 Ki elements: microseconds of work, far above the cost of handing it to a thread.
[[nodiscard]] inline std::int64_t rows_per_block(std::int64_t row_size) {
  constexpr std::int64_t kElements = 32768;
  return std::max<std::int64_t>(1, kElements / std::max<std::int64_t>(1, row_size));
}

}  // namespace switchyard::kernels::cpu
