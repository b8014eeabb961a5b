// Counts what the host waits for and what is copied to it.
#pragma once

namespace switchyard::simulated_device {

void count_wait(const char* what);
void count_copy_to_host(const char* what);
// The innermost ops::OpSpan that this thread is in.
const char* current_span();

}  // namespace switchyard::simulated_device
