// How ranks compute something together without training.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

namespace switchyard::inference {

// Every rank does its part, and all of them as many forward passes, since each may need the experts
// of the others. One rank: there is nothing to share.
struct RankShare {
  std::int64_t rank = 0;
  std::int64_t num_ranks = 1;
  std::function<void(at::Tensor& tensor)> sum = {};                // over all ranks, on the host
  std::function<std::int64_t(std::int64_t number)> of_first = {};  // what rank 0 has, on all
};

}  // namespace switchyard::inference
