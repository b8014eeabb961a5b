#include "train/prefetcher.h"

namespace switchyard::train {

std::vector<inference::MicroBatch> Prefetcher::take(std::int64_t first_window) {
  if (!ahead_) return make_(first_window);
  std::vector<inference::MicroBatch> taken;
  if (next_.valid() && next_window_ == first_window) {
    taken = next_.get();
  } else {
    next_ = {};  // waits for what nobody wants any more
    taken = make_(first_window);
  }
  next_window_ = first_window + windows_per_step_;
  next_ = std::async(std::launch::async, make_, next_window_);
  return taken;
}

}  // namespace switchyard::train
