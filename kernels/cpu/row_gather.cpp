#include "switchyard/kernels/row_gather.h"

#include <cstring>

#include "cpu/row_block.h"
#include "switchyard/core/parallel.h"

namespace switchyard::kernels::cpu {

void row_gather(const RowGatherParams& params) {
  if (params.row_bytes == 0) return;
  const auto bytes = static_cast<std::size_t>(params.row_bytes);
  parallel_for(params.padded_rows, rows_per_block(params.row_bytes / 4),
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t row = begin; row < end; ++row) {
                   std::byte* out = params.out + row * params.row_bytes;
                   if (row < params.num_rows) {
                     std::memcpy(out, params.x + params.row_token_N[row] * params.row_bytes, bytes);
                   } else {
                     std::memset(out, 0, bytes);
                   }
                 }
               });
}

}  // namespace switchyard::kernels::cpu
