// An expert's rows, and running the experts of a layer side by side.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "switchyard/ops/routing.h"

namespace switchyard::moe {

struct ExpertSlice {
  std::int64_t expert = 0;
  std::int64_t begin = 0;  // first row
  std::int64_t count = 0;  // >= 1

  [[nodiscard]] at::Tensor rows_of(const at::Tensor& tensor_N) const {
    return tensor_N.narrow(0, begin, count);
  }
};

// The experts that have rows. On CUDA this is a host synchronisation.
[[nodiscard]] std::vector<ExpertSlice> expert_slices(const ops::Routing& routing);

// Calls fn once for each slice, without autograd. On a CPU whole experts are handed to threads
// where that balances, and where even the fullest one's products are small (ops/product.h) but not
// those of all rows together: one thread then does all products of its expert on operands in its
// own cache, and nobody waits at the end of every product (moe_benchmark.cpp, two threads,
// H = F = 192 and 256: 5 to 15 % less processor time in bf16, no difference in fp32). Otherwise one
// expert follows the other and each product uses the threads that it is worth. fn must touch only
// what belongs to its expert. The choice depends on the slices, w1_E2FH's shape (an expert's
// largest matrix) and the number of threads alone.
void for_each_expert(const std::vector<ExpertSlice>& slices, const at::Tensor& w1_E2FH,
                     const std::function<void(const ExpertSlice&)>& fn);

}  // namespace switchyard::moe
