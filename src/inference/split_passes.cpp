#include "inference/split_passes.h"

#include <vector>

#include "switchyard/inference/batching.h"

namespace switchyard::inference {

SplitPasses::SplitPasses(const data::SampleSource& split, const ValidationOptions& options)
    : split_(split),
      options_(options),
      passes_(split.num_samples_per_epoch(), split.sequence_length(), options) {}

model::Batch SplitPasses::batch(std::int64_t pass) const {
  std::vector<data::Sample> windows;
  const std::int64_t first = passes_.first(pass);
  for (std::int64_t i = 0; i < passes_.count(pass); ++i) windows.push_back(split_.get(first + i));
  return make_batch(windows, {.attend_across_documents = options_.attend_across_documents,
                              .separator = split_.tokenizer().separator_id()})
      .batch;
}

}  // namespace switchyard::inference
