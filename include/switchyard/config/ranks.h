// What a configuration asks of the number of ranks: known once they are started, checked before
// anything else happens.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "switchyard/config/config.h"

namespace switchyard::config {

// So many ranks, their experts split over groups of so many: "4x2".
struct Layout {
  std::int64_t num_ranks = 1;
  std::int64_t expert = 1;  // parallel.expert

  [[nodiscard]] std::string name() const;
  bool operator==(const Layout&) const = default;
};

// "1x1,4x2", each of at most `most_ranks` ranks. Throws UsageError that begins with `flag`.
[[nodiscard]] std::vector<Layout> parse_layouts(std::string_view text, std::string_view flag,
                                                std::int64_t most_ranks);

// The numbers that divide both, ascending: those of ranks that experts can be split over.
[[nodiscard]] std::vector<std::int64_t> common_divisors(std::int64_t a, std::int64_t b);

// Throws ConfigError with all that does not go together: parallel.expert, and the global batch,
// which is cut into micro-batches over the ranks.
void check_ranks(const Config& config, std::int64_t num_ranks);

}  // namespace switchyard::config
