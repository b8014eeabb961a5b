// Deterministic data parallelism: the range is cut into fixed blocks of `grain` items whatever the
// number of threads, so a reduction that stores one partial result per block is bit-equal always.
#pragma once

#include <cstdint>
#include <functional>

namespace switchyard {

// Calls fn(begin, end) once for each block [i*grain, min(n, (i+1)*grain)), possibly in parallel.
// Blocks never overlap; their order is unspecified. Exceptions propagate to the caller.
void parallel_for(std::int64_t n, std::int64_t grain,
                  const std::function<void(std::int64_t begin, std::int64_t end)>& fn);

// Runs `body(block)` for block in [0, num_blocks). The default runs serially; `ops` installs
// at::parallel_for so that one thread pool serves torch and us.
using ParallelBackend = void (*)(std::int64_t num_blocks,
                                 const std::function<void(std::int64_t block)>& body);
void set_parallel_backend(ParallelBackend backend);

}  // namespace switchyard
