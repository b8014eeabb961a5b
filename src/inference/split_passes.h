// The windows of a split, in their order, as batches that fit into a forward pass.
#pragma once

#include <cstdint>

#include "switchyard/data/sample_source.h"
#include "switchyard/inference/evaluate.h"
#include "switchyard/inference/rank_share.h"
#include "switchyard/model/batch.h"

namespace switchyard::inference {

// At least one.
[[nodiscard]] std::int64_t windows_per_pass(std::int64_t tokens_per_pass, std::int64_t length);

class SplitPasses {
 public:
  // Both must outlive this.
  SplitPasses(const data::SampleSource& split, const ValidationOptions& options);

  [[nodiscard]] model::Batch batch(std::int64_t pass) const;  // on the host
  // For compute_passes.
  [[nodiscard]] SharedPasses shared(std::int64_t num_sums) const;

 private:
  const data::SampleSource& split_;
  const ValidationOptions& options_;
  std::int64_t num_windows_;
  std::int64_t per_pass_;
};

}  // namespace switchyard::inference
