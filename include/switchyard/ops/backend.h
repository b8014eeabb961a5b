// Makes torch's thread pool serve core's parallel_for. Called once by each program and test main.
#pragma once

namespace switchyard::ops {

void install_parallel_backend();

}  // namespace switchyard::ops
