#include "support/gpu_simulator/shared_limit.h"

#include <algorithm>
#include <map>
#include <mutex>

#include "support/gpu_simulator/simulator.h"
#include "support/gpu_simulator/symbols.h"

namespace switchyard::gpu_simulator {
namespace {

constexpr std::size_t kDefaultSharedBytes = 48 * 1024;
constexpr std::size_t kMaxSharedBytes = 227 * 1024;  // of an H100; an A100 has 163

std::mutex mutex;

std::map<const void*, std::size_t>& allowed_shared_bytes() {
  static std::map<const void*, std::size_t> bytes;
  return bytes;
}

std::size_t sum_of_shared_variables(const void* kernel) {
  std::size_t bytes = 0;
  for (const SharedVariable& variable : shared_variables(kernel)) bytes += variable.bytes;
  return bytes;
}

}  // namespace

bool may_share(const void* kernel, std::size_t dynamic_bytes) {
  const std::scoped_lock lock(mutex);
  const std::size_t bytes = sum_of_shared_variables(kernel) + dynamic_bytes;
  const auto allowed = allowed_shared_bytes().find(kernel);
  if (allowed == allowed_shared_bytes().end()) return bytes <= kDefaultSharedBytes;
  return dynamic_bytes <= std::max(allowed->second, kDefaultSharedBytes) &&
         bytes <= kMaxSharedBytes;
}

std::size_t own_shared_bytes(const void* kernel) {
  const std::scoped_lock lock(mutex);
  return sum_of_shared_variables(kernel);
}

void allow_shared_bytes(const void* kernel, std::size_t bytes) {
  const std::scoped_lock lock(mutex);
  allowed_shared_bytes()[kernel] = bytes;
}

}  // namespace switchyard::gpu_simulator
