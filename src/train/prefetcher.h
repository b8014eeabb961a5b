// Makes the micro-batches of the next step while this one computes.
#pragma once

#include <cstdint>
#include <functional>
#include <future>
#include <utility>
#include <vector>

#include "switchyard/model/batch.h"

namespace switchyard::train {

class Prefetcher {
 public:
  using Make = std::function<std::vector<model::MicroBatch>(std::int64_t first_sample)>;

  // `make` is called on other threads, by one at a time; what it uses must outlive this. Where
  // `ahead` is false it is called by take().
  Prefetcher(Make make, std::int64_t samples_per_step, bool ahead)
      : make_(std::move(make)), samples_per_step_(samples_per_step), ahead_(ahead) {}

  // What make(first_sample) returns or throws, made already if this is the step after the one that
  // was taken last.
  [[nodiscard]] std::vector<model::MicroBatch> take(std::int64_t first_sample);

 private:
  Make make_;
  std::int64_t samples_per_step_;
  bool ahead_;
  std::int64_t next_sample_ = 0;  // that next_ begins with
  std::future<std::vector<model::MicroBatch>> next_;
};

}  // namespace switchyard::train
