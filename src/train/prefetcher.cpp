#include "train/prefetcher.h"

namespace switchyard::train {

std::vector<model::MicroBatch> Prefetcher::take(std::int64_t first_sample) {
  if (!ahead_) return make_(first_sample);
  std::vector<model::MicroBatch> taken;
  if (next_.valid() && next_sample_ == first_sample) {
    taken = next_.get();
  } else {
    next_ = {};  // waits for what nobody wants any more
    taken = make_(first_sample);
  }
  next_sample_ = first_sample + samples_per_step_;
  next_ = std::async(std::launch::async, make_, next_sample_);
  return taken;
}

}  // namespace switchyard::train
