// A communicator whose collectives are noted as they pass, and watched where nobody else would
// notice that one never ends.
#pragma once

#include <c10/core/Device.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "switchyard/comm/communicator.h"

namespace switchyard::comm {

struct WatchOptions {
  // Called once, on a thread of its own, when a collective has been under way for longer.
  std::chrono::milliseconds timeout{1'800'000};
  std::function<void(const std::string& report)> on_hang = {};  // none: nobody watches
};

// What the calls of this rank came to.
struct Traffic {
  std::int64_t calls = 0;
  std::int64_t bytes = 0;  // of its tensors, sent and received
  double seconds = 0.0;    // in calls; those on a device return before they are done
};

// Passes everything on to `ranks` and the groups that are split off. A collective on a device is
// under way until the device has done it.
[[nodiscard]] std::unique_ptr<Communicator> watched(std::unique_ptr<Communicator> ranks,
                                                    const WatchOptions& options);

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
