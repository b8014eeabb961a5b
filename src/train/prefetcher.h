// Makes the micro-batches of the next step while this one computes.
#pragma once

#include <cstdint>
#include <functional>
#include <future>
#include <utility>
#include <vector>

#include "switchyard/inference/batching.h"

namespace switchyard::train {

class Prefetcher {
 public:
  using Make = std::function<std::vector<inference::MicroBatch>(std::int64_t first_window)>;

  // `make` is called on other threads, by one at a time; what it uses must outlive this. Where
  // `ahead` is false it is called by take().
  Prefetcher(Make make, std::int64_t windows_per_step, bool ahead)
      : make_(std::move(make)), windows_per_step_(windows_per_step), ahead_(ahead) {}

  // What make(first_window) returns or throws, made already if this is the step after the one that
  // was taken last.
  [[nodiscard]] std::vector<inference::MicroBatch> take(std::int64_t first_window);

 private:
  Make make_;
  std::int64_t windows_per_step_;
  bool ahead_;
  std::int64_t next_window_ = 0;  // that next_ begins with
  std::future<std::vector<inference::MicroBatch>> next_;
};

}  // namespace switchyard::train
