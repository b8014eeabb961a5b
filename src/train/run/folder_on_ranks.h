// The run folder of several ranks: the leader opens it before the others look at it.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "switchyard/comm/communicator.h"
#include "switchyard/train/run_folder.h"

namespace switchyard::train {

using OpenFolder = std::function<RunFolder(const std::string& path)>;

// The leader's, by `open`; the others get one that writes nothing. What an earlier start left about
// its ranks is removed. A collective. Throws on the leader what `open` throws.
[[nodiscard]] RunFolder open_on_ranks(comm::Communicator& world, const std::string& path,
                                      const OpenFolder& open);

// Where the ranks note what they wait for (comm::keep_record).
[[nodiscard]] std::filesystem::path records_of_ranks(const RunFolder& folder);

}  // namespace switchyard::train
