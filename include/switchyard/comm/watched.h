// A communicator whose collectives are noted as they pass, and watched where nobody else would
// notice that one never ends.
#pragma once

#include <c10/core/Device.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "switchyard/comm/communicator.h"

namespace switchyard::comm {

struct WatchOptions {
  // Called at most once, on a thread of its own, when a collective has been under way for longer,
  // when `find_error` has found something, or when the device does not say.
  std::function<void(const std::string& report)> on_hang = {};  // none: nobody watches
  // Collectives notice by themselves, connecting does not: it alone is watched.
  bool only_connecting = false;
  std::chrono::milliseconds timeout{1'800'000};
  // What is wrong with the ranks, empty for nothing; asked twice a second.
  std::function<std::string(const Communicator& ranks)> find_error = {};
  // Where the collectives are under way when their calls have returned; none: they return when they
  // are done.
  std::optional<c10::Device> device = {};
};

// What the calls of this rank came to.
struct Traffic {
  std::int64_t calls = 0;
  std::int64_t bytes = 0;  // of its tensors, sent and received
  double seconds = 0.0;    // in calls; on a device: there, without waiting for the one before
};

// Passes everything on to what `connect` returns and to the groups that are split off; connecting
// is watched as well. `rank` of `num_ranks` is what this one will be.
[[nodiscard]] std::unique_ptr<Communicator> watched(
    std::int64_t rank, std::int64_t num_ranks,
    const std::function<std::unique_ptr<Communicator>()>& connect, const WatchOptions& options);
[[nodiscard]] std::unique_ptr<Communicator> watched(std::unique_ptr<Communicator> ranks,
                                                    const WatchOptions& options);

// For tests: what this process does before each of its collectives, of watched() ranks alone, and
// before it connects or goes away. `operation` is as in reports, "all_to_all", or "connect" or
// "disconnect". False: it leaves the collective out, as a mistake
// would.
using Interference =
    std::function<bool(std::int64_t rank, std::string_view operation, std::string_view name)>;
void interfere(Interference interference);

// The following are about what watched() returned, and do nothing (return nothing) for others.

// From here on the record of this rank's collectives is also a file in `folder`, for the others to
// read when this rank hangs or dies, until forget_record().
void keep_record(Communicator& ranks, const std::filesystem::path& folder);
void forget_record(Communicator& ranks);
// What all kept records say of the collective that this rank waits in, or waited in last when that
// failed (who_is_missing). Empty: it is in none.
[[nodiscard]] std::string report_of_hang(Communicator& ranks);
// Since the last call, of these ranks and all groups split off.
[[nodiscard]] Traffic take_traffic(Communicator& ranks);

}  // namespace switchyard::comm
