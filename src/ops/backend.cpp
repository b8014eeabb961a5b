#include "switchyard/ops/backend.h"

#include <ATen/Parallel.h>

#include <cstdint>
#include <functional>

#include "switchyard/core/parallel.h"

namespace switchyard::ops {

void install_parallel_backend() {
  set_parallel_backend(
      [](std::int64_t num_blocks, const std::function<void(std::int64_t block)>& body) {
        at::parallel_for(0, num_blocks, 1, [&](std::int64_t begin, std::int64_t end) {
          for (std::int64_t block = begin; block < end; ++block) body(block);
        });
      });
}

}  // namespace switchyard::ops
