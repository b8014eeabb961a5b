// The samples of a split, in their order, cut into forward passes that ranks share out.
#pragma once

#include <cstdint>

#include "switchyard/inference/evaluate.h"
#include "switchyard/inference/rank_share.h"

namespace switchyard::inference {

// At least one.
[[nodiscard]] std::int64_t windows_per_pass(std::int64_t tokens_per_pass, std::int64_t length);

class SamplePasses {
 public:
  // `length`: tokens of a sample. `options` must outlive this.
  SamplePasses(std::int64_t num_samples, std::int64_t length, const ValidationOptions& options);

  [[nodiscard]] std::int64_t first(std::int64_t pass) const { return pass * per_pass_; }
  [[nodiscard]] std::int64_t count(std::int64_t pass) const;
  // For compute_passes; this must outlive it.
  [[nodiscard]] SharedPasses shared(std::int64_t num_sums) const;

 private:
  const ValidationOptions& options_;
  std::int64_t num_samples_;
  std::int64_t per_pass_;
};

}  // namespace switchyard::inference
