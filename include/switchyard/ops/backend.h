// Makes torch's thread pool serve core's parallel_for. Called once by each program and test main.
#pragma once

#include <cstdint>

namespace switchyard::ops {

void install_parallel_backend();

// How often our own kernels made the host wait for a GPU, since this process started. A route does
// so once, to learn the number of rows.
[[nodiscard]] std::int64_t num_host_waits();

}  // namespace switchyard::ops
