// Of several signals that ask a process to stop: which are one request? For signal handlers.
#pragma once

#include <time.h>

#include <cstdint>

namespace switchyard {

// Of a clock that nobody sets.
[[nodiscard]] inline std::int64_t monotonic_nanoseconds() noexcept {
  struct timespec time {};
  (void)::clock_gettime(CLOCK_MONOTONIC, &time);
  return std::int64_t{1'000'000'000} * time.tv_sec + time.tv_nsec;
}

// GNU timeout signals the program and then its whole group; other wrappers pass on what the group
// has got already. So soon behind the first signal another one is no second request.
[[nodiscard]] inline bool is_same_request(std::int64_t first_nanoseconds) noexcept {
  return monotonic_nanoseconds() - first_nanoseconds < 1'000'000'000;
}

}  // namespace switchyard
