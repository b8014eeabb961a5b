#include "switchyard/inference/sample_passes.h"

#include <algorithm>

namespace switchyard::inference {

std::int64_t windows_per_pass(std::int64_t tokens_per_pass, std::int64_t length) {
  return std::max<std::int64_t>(1, tokens_per_pass / std::max<std::int64_t>(1, length));
}

SamplePasses::SamplePasses(std::int64_t num_samples, std::int64_t length,
                           const ValidationOptions& options)
    : options_(options),
      num_samples_(num_samples),
      per_pass_(windows_per_pass(options.tokens_per_pass, length)) {
  if (options.max_tokens > 0) {
    num_samples_ = std::clamp<std::int64_t>(options.max_tokens / length, 1, num_samples_);
  }
}

std::int64_t SamplePasses::count(std::int64_t pass) const {
  return std::min(per_pass_, num_samples_ - first(pass));
}

SharedPasses SamplePasses::shared(std::int64_t num_sums) const {
  SharedPasses passes{.num_passes = (num_samples_ + per_pass_ - 1) / per_pass_,
                      .num_sums = num_sums,
                      .ranks = options_.ranks,
                      .should_stop = options_.should_stop};
  if (options_.progress) {
    passes.progress = [this](std::int64_t num_done) {
      options_.progress(std::min(num_samples_, num_done * per_pass_), num_samples_);
    };
  }
  return passes;
}

}  // namespace switchyard::inference
