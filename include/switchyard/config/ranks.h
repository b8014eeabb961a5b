// What a configuration asks of the number of ranks: known once they are started, checked before
// anything else happens.
#pragma once

#include <cstdint>
#include <vector>

#include "switchyard/config/config.h"

namespace switchyard::config {

// The numbers that divide both, ascending: those of ranks that experts can be split over.
[[nodiscard]] std::vector<std::int64_t> common_divisors(std::int64_t a, std::int64_t b);

// Throws ConfigError with all that does not go together: parallel.expert, and the global batch,
// which is cut into micro-batches over the ranks.
void check_ranks(const Config& config, std::int64_t num_ranks);

}  // namespace switchyard::config
