// The windows of a split, in their order, as batches that fit into a forward pass.
#pragma once

#include <cstdint>

#include "switchyard/data/sample_source.h"
#include "switchyard/inference/evaluate.h"
#include "switchyard/inference/sample_passes.h"
#include "switchyard/model/batch.h"

namespace switchyard::inference {

class SplitPasses {
 public:
  // Both must outlive this.
  SplitPasses(const data::SampleSource& split, const ValidationOptions& options);

  [[nodiscard]] model::Batch batch(std::int64_t pass) const;  // on the host
  // For compute_passes.
  [[nodiscard]] SharedPasses shared(std::int64_t num_sums) const {
    return passes_.shared(num_sums);
  }

 private:
  const data::SampleSource& split_;
  const ValidationOptions& options_;
  SamplePasses passes_;
};

}  // namespace switchyard::inference
