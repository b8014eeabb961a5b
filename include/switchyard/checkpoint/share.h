// Files of a checkpoint that several processes share out to read.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace switchyard::checkpoint {

// For one of `num_parts` processes, from 0: reads its share of the files of a step, which is whole
// files, all shares together every file, with about as many bytes where there are enough files.
// Returns the name of one that is not what was written; empty when all are. Sizes of all files are
// compared first: throws what Checkpoint::open_step throws.
[[nodiscard]] std::string damaged_file_in_share(const std::filesystem::path& folder,
                                                std::int64_t part, std::int64_t num_parts);

// Does this process read what the manifest says? Throws like that.
[[nodiscard]] bool reads_as_written(const std::filesystem::path& folder, const std::string& file);

}  // namespace switchyard::checkpoint
