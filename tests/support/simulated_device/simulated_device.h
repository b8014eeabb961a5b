// A GPU for whole programs that need none: LibTorch's CUDA device, in programs that do not load
// libtorch_cuda. Device memory cannot be touched by host code; our CUDA kernels run on it as
// tests/support/gpu_simulator runs them, LibTorch's operators run as those of the CPU after a check
// that all their tensors are on the device. Linking its objects into a program is all that is
// needed.
//
// What goes wrong ends the program with a message: a host access to device memory, an access to
// memory that was released. What an operator or a kernel is given wrongly is an exception.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>

namespace switchyard::simulated_device {

// Ranks that are threads take one each: autograd has one worker thread for a device, and those that
// shared it would wait for each other for ever.
inline constexpr int kNumDevices = 4;

// The most that the tensors of one device may hold; more is LibTorch's OutOfMemoryError. 0: no
// limit. Until this is called: SWITCHYARD_SIMULATED_DEVICE_BYTES, or no limit.
void set_byte_limit(std::int64_t bytes);

// As where a kernel hangs: events that were recorded from then on are not done (time_point::max():
// all are); and calls that ask of events or record them do not return while they are blocked.
void hold_events(std::chrono::steady_clock::time_point from);
void block_events(bool is_blocked);
// When events come to pass that are recorded from here on; time_point::min(): at once.
void set_event_time(std::chrono::steady_clock::time_point time);

// What made the host wait for the device, and what was copied from the device to the host, by the
// spans (ops::OpSpan) it happened in and the operator: "forward/route: read back" -> how often.
struct Traffic {
  std::map<std::string, std::int64_t> waits;
  std::map<std::string, std::int64_t> copies_to_host;
};
// Since the program started or the last call.
Traffic take_traffic();
// The numbers, added up.
std::int64_t total(const std::map<std::string, std::int64_t>& counts);
// One line for each name, to be read.
std::string to_string(const Traffic& traffic);

}  // namespace switchyard::simulated_device
