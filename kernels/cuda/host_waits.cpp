#include "switchyard/kernels/host_waits.h"

#include <atomic>

namespace switchyard::kernels::cuda {
namespace {

std::atomic<std::int64_t> num_waits{0};

}  // namespace

void count_host_synchronization() {
  ++num_waits;
}

std::int64_t num_host_synchronizations() {
  return num_waits;
}

}  // namespace switchyard::kernels::cuda
