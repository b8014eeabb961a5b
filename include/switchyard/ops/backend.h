// The threads that compute, and how often they wait.
#pragma once

#include <cstdint>

namespace switchyard::ops {

// Makes torch's thread pool serve core's parallel_for.
void install_parallel_backend();

// The same, and makes torch use this process's share of the available cores, where `num_processes`
// were started together on this machine; OMP_NUM_THREADS, when set, wins. Once per program. Throws
// std::system_error when the system refuses so many.
void set_up_threads(std::int64_t num_processes = 1);

// How often our own kernels made the host wait for a GPU, since this process started. A route does
// so once, to learn the number of rows.
[[nodiscard]] std::int64_t num_host_waits();

}  // namespace switchyard::ops
