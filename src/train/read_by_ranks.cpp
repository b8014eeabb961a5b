#include "switchyard/train/read_by_ranks.h"

#include <cstddef>
#include <exception>
#include <filesystem>
#include <string>
#include <vector>

#include "switchyard/checkpoint/share.h"
#include "switchyard/comm/text.h"
#include "switchyard/config/folders.h"
#include "switchyard/core/error.h"
#include "switchyard/core/exit_code.h"
#include "switchyard/core/hash.h"
#include "switchyard/format/json.h"

namespace switchyard::train {
namespace fs = std::filesystem;
namespace {

constexpr const char* kName = "reading a checkpoint";
constexpr const char* kManifest = "manifest";
constexpr const char* kDamaged = "damaged";
constexpr const char* kError = "error";

// What a rank finds, whatever that is: all others wait for it.
std::string findings_of(const fs::path& folder, const comm::Communicator& world) {
  format::Json found;
  try {
    found[kManifest] = xxh3_of_file(folder / config::kCheckpointManifestName);
    found[kDamaged] = checkpoint::damaged_file_in_share(folder, world.rank(), world.size());
  } catch (const std::exception& error) {
    found[kError] = words_of(error);
  }
  return format::json_text(found);
}

// A damaged file's name, or empty. A collective.
std::string read_together(const fs::path& folder, comm::Communicator& world) {
  const std::vector<std::string> texts =
      comm::all_gather_text(world, findings_of(folder, world), kName);
  constexpr const char* kHint = "all ranks have to see the same files, now and until the run ends";
  std::vector<format::Json> found;
  for (std::size_t rank = 0; rank < texts.size(); ++rank) {
    found.push_back(format::parse_json(texts[rank], kName));
    if (found.back().contains(kError)) {
      throw StorageError(fmt::format("rank {}: {}", rank, found.back()[kError].get<std::string>()),
                         kHint);
    }
    if (found.back()[kManifest] != found.front()[kManifest]) {
      throw StorageError(fmt::format("rank {} reads another {} in {} than rank 0", rank,
                                     config::kCheckpointManifestName, folder.string()),
                         kHint);
    }
  }
  for (std::size_t rank = 0; rank < found.size(); ++rank) {
    const auto file = found[rank][kDamaged].get<std::string>();
    if (file.empty()) continue;
    if (world.rank() == 0 && checkpoint::reads_as_written(folder, file)) {
      throw StorageError(fmt::format("rank {} does not read {} as it was written, but rank 0 does",
                                     rank, (folder / file).string()),
                         "look at the memory, the disks and the links of that rank's machine");
    }
    return file;
  }
  return {};
}

}  // namespace

void look_at_checkpoints(comm::Communicator& world,
                         const std::function<void(const checkpoint::ReadContents& read)>& look) {
  if (world.size() == 1) return look({});
  if (world.rank() == 0) {
    look([&](const fs::path& folder) {  // which other ranks may have to spell otherwise
      const fs::path there = fs::absolute(folder);
      (void)comm::text_of_first(world, there.string(), kName);
      return read_together(there, world);
    });
    (void)comm::text_of_first(world, "", kName);  // there is no more to read
    return;
  }
  for (;;) {
    const fs::path folder = comm::text_of_first(world, "", kName);
    if (folder.empty()) return;
    (void)read_together(folder, world);
  }
}

}  // namespace switchyard::train
