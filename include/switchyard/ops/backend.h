// The threads that compute, and how often they wait.
#pragma once

#include <cstdint>

namespace switchyard::ops {

// Throws std::system_error when so many threads cannot run at a time.
void check_that_threads_start(int num_threads);

// Where core's parallel_for runs its blocks: on torch's thread pool, or each after the other, as a
// thread of that pool would, on the thread that calls. Results do not depend on it.
enum class Blocks { on_all_threads, on_the_calling_thread };
void install_parallel_backend(Blocks blocks = Blocks::on_all_threads);

// The first of these, and makes torch use this process's share of the available cores, where
// `num_processes` were started together on this machine; OMP_NUM_THREADS, when set, wins. Once per
// program. Throws std::system_error when the system refuses so many.
void set_up_threads(std::int64_t num_processes = 1);

// How often the host waited for a GPU in order to go on with a pass, since this process started: a
// route does so once, to learn the number of rows; a loop over experts as often as it says.
[[nodiscard]] std::int64_t num_host_waits();
void count_host_wait();

}  // namespace switchyard::ops
