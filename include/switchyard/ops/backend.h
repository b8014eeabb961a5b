// The threads that compute, and how often they wait.
#pragma once

#include <cstdint>

namespace switchyard::ops {

// Throws std::system_error when so many threads cannot run at a time.
void check_that_threads_start(int num_threads);

// Makes torch's thread pool serve core's parallel_for.
void install_parallel_backend();

// The same, and makes torch use this process's share of the available cores, where `num_processes`
// were started together on this machine; OMP_NUM_THREADS, when set, wins. Once per program. Throws
// std::system_error when the system refuses so many.
void set_up_threads(std::int64_t num_processes = 1);

// How often the host waited for a GPU in order to go on with a pass, since this process started: a
// route does so once, to learn the number of rows; a loop over experts as often as it says.
[[nodiscard]] std::int64_t num_host_waits();
void count_host_wait();

}  // namespace switchyard::ops
