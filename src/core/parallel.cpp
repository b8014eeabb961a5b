#include "switchyard/core/parallel.h"

#include <algorithm>
#include <atomic>

#include "switchyard/core/error.h"

namespace switchyard {
namespace {

void run_serially(std::int64_t num_blocks, const std::function<void(std::int64_t)>& body) {
  for (std::int64_t block = 0; block < num_blocks; ++block) body(block);
}

std::atomic<ParallelBackend> current_backend{&run_serially};

}  // namespace

void parallel_for(std::int64_t n, std::int64_t grain,
                  const std::function<void(std::int64_t begin, std::int64_t end)>& fn) {
  SWITCHYARD_CHECK(grain > 0, "parallel_for needs a positive grain, got {}", grain);
  if (n <= 0) return;
  // Not (n + grain - 1) / grain: that overflows for a grain near the largest integer.
  const std::int64_t num_blocks = (n - 1) / grain + 1;
  if (num_blocks == 1) {
    fn(0, n);
    return;
  }
  current_backend.load()(num_blocks, [&](std::int64_t block) {
    const std::int64_t begin = block * grain;
    fn(begin, begin + std::min(grain, n - begin));
  });
}

void set_parallel_backend(ParallelBackend backend) {
  current_backend.store(backend == nullptr ? &run_serially : backend);
}

}  // namespace switchyard
