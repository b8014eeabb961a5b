// How ranks compute something together without training.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <span>

namespace switchyard::inference {

// Every rank does its part, and all of them as many forward passes, since each may need the experts
// of the others. One rank: there is nothing to share.
struct RankShare {
  std::int64_t rank = 0;
  std::int64_t num_ranks = 1;
  std::function<void(at::Tensor& tensor)> sum = {};                // over all ranks, on the host
  std::function<std::int64_t(std::int64_t number)> of_first = {};  // what rank 0 has, on all

  // Whose the pass is; another rank computes it for company alone.
  [[nodiscard]] bool owns(std::int64_t pass) const { return pass % num_ranks == rank; }
};

// Passes of an evaluation, shared out among ranks.
struct SharedPasses {
  std::int64_t num_passes = 0;
  std::int64_t num_sums = 0;  // of a pass
  RankShare ranks = {};
  // Asked before every pass, by all ranks at the same time.
  std::function<bool()> should_stop = {};
  std::function<void(std::int64_t num_done)> progress = {};  // passes, of all ranks
};

// Calls compute(pass, sums [num_sums]) for the passes of this rank. Returns the sums of all passes,
// [num_passes, num_sums] fp64 on the host, the same on all ranks: added up in the order of passes
// they are those of one rank, bit for bit. None when should_stop said so.
[[nodiscard]] std::optional<at::Tensor> compute_passes(
    const SharedPasses& passes,
    const std::function<void(std::int64_t pass, std::span<double> sums)>& compute);

}  // namespace switchyard::inference
