#include "switchyard/inference/rank_share.h"

#include <ATen/ops/zeros.h>

#include <algorithm>
#include <vector>

namespace switchyard::inference {

std::optional<at::Tensor> compute_passes(
    const SharedPasses& passes,
    const std::function<void(std::int64_t pass, std::span<double> sums)>& compute) {
  const RankShare& ranks = passes.ranks;
  at::Tensor sums = at::zeros({passes.num_passes, passes.num_sums}, at::kDouble);
  std::vector<double> of_pass(static_cast<std::size_t>(passes.num_sums));
  for (std::int64_t first = 0; first < passes.num_passes; first += ranks.num_ranks) {
    if (passes.should_stop && passes.should_stop()) return std::nullopt;
    // A rank for which nothing is left computes the last pass again, for the others.
    const std::int64_t own = first + ranks.rank;
    const std::int64_t pass = std::min(own, passes.num_passes - 1);
    compute(pass, of_pass);
    if (own == pass) {
      std::copy(of_pass.begin(), of_pass.end(), sums[pass].mutable_data_ptr<double>());
    }
    if (passes.progress) passes.progress(std::min(passes.num_passes, first + ranks.num_ranks));
  }
  if (ranks.sum) ranks.sum(sums);  // each row is one rank's
  return sums;
}

}  // namespace switchyard::inference
