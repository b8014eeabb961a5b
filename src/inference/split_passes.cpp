#include "inference/split_passes.h"

#include <algorithm>
#include <vector>

#include "switchyard/inference/batching.h"

namespace switchyard::inference {

std::int64_t windows_per_pass(std::int64_t tokens_per_pass, std::int64_t length) {
  return std::max<std::int64_t>(1, tokens_per_pass / std::max<std::int64_t>(1, length));
}

SplitPasses::SplitPasses(const data::SampleSource& split, const ValidationOptions& options)
    : split_(split),
      options_(options),
      num_windows_(split.num_samples_per_epoch()),
      per_pass_(windows_per_pass(options.tokens_per_pass, split.sequence_length())) {
  if (options.max_tokens > 0) {
    num_windows_ =
        std::clamp<std::int64_t>(options.max_tokens / split.sequence_length(), 1, num_windows_);
  }
}

model::Batch SplitPasses::batch(std::int64_t pass) const {
  std::vector<data::Sample> windows;
  const std::int64_t end = std::min(num_windows_, (pass + 1) * per_pass_);
  for (std::int64_t i = pass * per_pass_; i < end; ++i) windows.push_back(split_.get(i));
  return make_batch(windows, {.attend_across_documents = options_.attend_across_documents,
                              .separator = split_.tokenizer().separator_id()})
      .batch;
}

SharedPasses SplitPasses::shared(std::int64_t num_sums) const {
  SharedPasses passes{.num_passes = (num_windows_ + per_pass_ - 1) / per_pass_,
                      .num_sums = num_sums,
                      .ranks = options_.ranks,
                      .should_stop = options_.should_stop};
  if (options_.progress) {
    passes.progress = [this](std::int64_t num_done) {
      options_.progress(std::min(num_windows_, num_done * per_pass_), num_windows_);
    };
  }
  return passes;
}

}  // namespace switchyard::inference
