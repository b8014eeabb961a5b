#include "switchyard/ops/backend.h"

#include <ATen/Parallel.h>
#include <ATen/TensorIterator.h>
#include <ATen/ops/empty.h>

#include <cstdint>
#include <cstdlib>
#include <functional>
#include <future>
#include <thread>
#include <vector>

#include "ops/kernel_device.h"
#include "switchyard/core/host.h"
#include "switchyard/core/parallel.h"
#include "switchyard/kernels/host_waits.h"
#include "switchyard/ops/one_thread.h"

namespace switchyard::ops {
namespace {

// at::parallel_for is a template that uses threads only in files compiled with OpenMP, and runs
// everything on the calling thread in ours, without a word. TensorIterator's loop is compiled into
// LibTorch, so it does reach torch's threads: here over one byte per block, whose address is the
// block's number.
void run_on_torch_threads(std::int64_t num_blocks,
                          const std::function<void(std::int64_t block)>& body) {
  const at::Tensor bytes = at::empty({num_blocks}, at::kByte);
  const auto* const first = reinterpret_cast<const char*>(host_values<std::uint8_t>(bytes).data());
  at::TensorIterator iterator = at::TensorIteratorConfig()
                                    .add_borrowed_output(bytes)
                                    .resize_outputs(false)
                                    .check_all_same_dtype(false)
                                    .build();
  iterator.for_each(
      [&](char** data, const std::int64_t* strides, std::int64_t inner, std::int64_t outer) {
        for (std::int64_t j = 0; j < outer; ++j) {
          for (std::int64_t i = 0; i < inner; ++i) {
            body(data[0] + i * strides[0] + j * strides[1] - first);
          }
        }
      },
      /*grain_size=*/1);
}

void run_on_the_calling_thread(std::int64_t num_blocks,
                               const std::function<void(std::int64_t block)>& body) {
  const OneThread alone;
  for (std::int64_t block = 0; block < num_blocks; ++block) body(block);
}

}  // namespace

void check_that_threads_start(int num_threads) {
  std::promise<void> end;
  const std::shared_future<void> ended = end.get_future().share();
  std::vector<std::jthread> threads;
  try {
    for (int i = 0; i < num_threads; ++i) threads.emplace_back([ended] { ended.wait(); });
  } catch (...) {
    end.set_value();
    throw;
  }
  end.set_value();
}

void install_parallel_backend(Blocks blocks) {
  set_parallel_backend(blocks == Blocks::on_all_threads ? &run_on_torch_threads
                                                        : &run_on_the_calling_thread);
}

void set_up_threads(std::int64_t num_processes) {
  const bool is_set = std::getenv("OMP_NUM_THREADS") != nullptr;
  const int num_threads = is_set ? at::get_num_threads() : num_cores_of_one(num_processes);
  // Where the system refuses a thread, LibTorch's pool waits for it for ever and OpenMP's ends the
  // process. So both, and one that makes batches beside, are tried first.
  check_that_threads_start(2 * num_threads + 1);
  if (!is_set) at::set_num_threads(num_threads);
  install_parallel_backend();
}

std::int64_t num_host_waits() {
  return kernels::cuda::num_host_synchronizations();
}

void count_host_wait() {
  kernels::cuda::count_host_synchronization();
}

}  // namespace switchyard::ops
