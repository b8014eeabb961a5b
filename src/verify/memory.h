// What verifying holds in memory: what every step leaves behind is kept until all steps are done.
#pragma once

#include <cstdint>

#include "switchyard/config/config.h"
#include "switchyard/core/host.h"
#include "switchyard/verify/layouts.h"

namespace switchyard::verify {

// Bytes, as doubles: no configuration can overflow them.
struct MemoryNeed {
  double state = 0.0;      // weights, gradients and moments of all ranks of the layout
  double each_step = 0.0;  // kept of a step, of one rank alone and of the layout together
  [[nodiscard]] double of_steps(std::int64_t num_steps) const {
    return state + static_cast<double>(num_steps) * each_step;
  }
};

// While `layout` trains, which is when most is held: one rank alone has trained by then, and only
// what is kept of its steps is left. Without activations. `config` as for one rank, with its
// vocabulary size, in fp32 or fp64. Throws UsageError for sizes beyond 64 bits.
[[nodiscard]] MemoryNeed memory_need(const config::Config& config, const Layout& layout);

// Throws OutOfMemoryError, with the number of steps that would fit, where a layout needs more than
// the memory that is available on `host` and its swap. Nothing is said where it does not tell.
void check_memory(const config::Config& config, const VerifyOptions& options,
                  const HostFacts& host);

}  // namespace switchyard::verify
