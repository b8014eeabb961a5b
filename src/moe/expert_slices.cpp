#include "moe/expert_slices.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <atomic>
#include <cstddef>

#include "switchyard/core/parallel.h"
#include "switchyard/ops/backend.h"
#include "switchyard/ops/one_thread.h"
#include "switchyard/ops/product.h"

namespace switchyard::moe {
namespace {

bool are_handed_out(const std::vector<ExpertSlice>& slices, const at::Tensor& w1_E2FH,
                    std::int64_t num_threads) {
  if (!w1_E2FH.is_cpu() || num_threads == 1 || slices.size() < 2) return false;
  std::int64_t total = 0;
  std::int64_t largest = 0;
  for (const ExpertSlice& slice : slices) {
    total += slice.count;
    largest = std::max(largest, slice.count);
  }
  const auto is_small = [&](std::int64_t rows) {
    return ops::is_small_product(rows, w1_E2FH.size(2), w1_E2FH.size(1));
  };
  if (is_small(total)) return false;
  if (is_small(largest)) return true;  // a small product by itself uses one thread
  // The busiest thread's share, when experts are handed out largest first, is at least the largest
  // expert; up to a quarter above the mean is less than what threads inside products lose.
  return static_cast<std::int64_t>(slices.size()) >= 2 * num_threads &&
         4 * largest * num_threads <= 5 * total;
}

}  // namespace

std::vector<ExpertSlice> expert_slices(const ops::Routing& routing) {
  if (routing.expert_offset_E1.is_cuda()) ops::count_host_wait();
  const at::Tensor offset_E1 = routing.expert_offset_E1.to(at::kCPU);
  const auto* offset = offset_E1.const_data_ptr<std::int32_t>();
  std::vector<ExpertSlice> slices;
  for (std::int64_t e = 0; e < routing.num_experts; ++e) {
    if (offset[e + 1] > offset[e]) slices.push_back({e, offset[e], offset[e + 1] - offset[e]});
  }
  return slices;
}

void for_each_expert(const std::vector<ExpertSlice>& slices, const at::Tensor& w1_E2FH,
                     const std::function<void(const ExpertSlice&)>& fn) {
  const std::int64_t num_threads = at::in_parallel_region() ? 1 : at::get_num_threads();
  if (!are_handed_out(slices, w1_E2FH, num_threads)) {
    const at::NoGradGuard no_grad;
    for (const ExpertSlice& slice : slices) fn(slice);
    return;
  }
  std::vector<ExpertSlice> largest_first = slices;
  std::stable_sort(largest_first.begin(), largest_first.end(),
                   [](const ExpertSlice& a, const ExpertSlice& b) { return a.count > b.count; });
  // Which thread takes an expert is left to chance; what it computes does not depend on that.
  std::atomic<std::size_t> next{0};
  parallel_for(num_threads, 1, [&](std::int64_t /*begin*/, std::int64_t /*end*/) {
    const at::NoGradGuard no_grad;  // gradient mode is per thread
    const ops::OneThread alone;
    for (std::size_t i = next++; i < largest_first.size(); i = next++) fn(largest_first[i]);
  });
}

}  // namespace switchyard::moe
