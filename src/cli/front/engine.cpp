#include "cli/front/engine.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "switchyard/core/error.h"

namespace switchyard::cli {

void exec_engine(char* const* argv) {
  namespace fs = std::filesystem;
  std::error_code error;
  const fs::path self = fs::read_symlink("/proc/self/exe", error);
  if (error) {
    throw StorageError(fmt::format("cannot read /proc/self/exe: {}", error.message()),
                       "the engine is looked for beside this program");
  }
  const fs::path engine = self.parent_path() / "switchyard-engine";
  if (!fs::exists(engine, error)) {
    throw UsageError(fmt::format("{} is missing", engine.string()),
                     "build the target switchyard-engine, or keep both programs in one folder");
  }
  // OpenMP reads this when it is loaded, hence here. Threads that spin while they wait slow
  // everything on a shared machine down by an order of magnitude.
  if (std::getenv("GOMP_SPINCOUNT") == nullptr) ::setenv("OMP_WAIT_POLICY", "PASSIVE", 0);
  ::execv(engine.c_str(), argv);
  throw StorageError(fmt::format("cannot run {}: {}", engine.string(), std::strerror(errno)));
}

}  // namespace switchyard::cli
