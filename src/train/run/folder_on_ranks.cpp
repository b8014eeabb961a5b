#include "train/run/folder_on_ranks.h"

#include <system_error>

#include "train/run/run_ranks.h"

namespace switchyard::train {

RunFolder open_on_ranks(comm::Communicator& world, const std::string& path,
                        const OpenFolder& open) {
  if (!RunRanks(world).leads()) {
    world.barrier("run folder");
    return RunFolder::of_another_rank(path);
  }
  RunFolder folder = open(path);
  std::error_code error;
  std::filesystem::remove_all(records_of_ranks(folder), error);
  world.barrier("run folder");
  return folder;
}

std::filesystem::path records_of_ranks(const RunFolder& folder) {
  return folder.path() / ".ranks";
}

}  // namespace switchyard::train
