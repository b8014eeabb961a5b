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
  // OpenMP reads this when it is loaded, hence here. Threads that spin for long while they wait
  // slow everything on a shared machine down by an order of magnitude; threads that sleep at once
  // are woken late. About 0.1 ms of spinning was best of 0 to 300,000 rounds (two cores of a Zen
  // 4): 1.3 times as fast as sleeping at once on an idle machine, 1.1 times beside two busy
  // processes.
  if (std::getenv("OMP_WAIT_POLICY") == nullptr) ::setenv("GOMP_SPINCOUNT", "10000", 0);
  ::execv(engine.c_str(), argv);
  throw StorageError(fmt::format("cannot run {}: {}", engine.string(), std::strerror(errno)));
}

}  // namespace switchyard::cli
