#include "cli/front/engine.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <initializer_list>
#include <string>
#include <system_error>

#include "switchyard/core/error.h"
#include "switchyard/core/host.h"

namespace switchyard::cli {
namespace {

bool is_limited(decltype(RLIMIT_AS) resource) {
  rlimit limit{};
  return ::getrlimit(resource, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
}

// Under a limit on memory the dynamic loader may find no room for LibTorch. It then ends the
// process with words of its own and an exit code that nobody takes for memory, so a process of its
// own tries it first.
void check_that_it_loads(const std::string& engine) {
  if (!is_limited(RLIMIT_AS) && !is_limited(RLIMIT_DATA)) return;
  posix_spawn_file_actions_t silent;
  ::posix_spawn_file_actions_init(&silent);
  for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    ::posix_spawn_file_actions_addopen(&silent, descriptor, "/dev/null", O_RDWR, 0);
  }
  std::string program = engine;
  std::string argument = "--version";  // which the engine does not know: it ends at once
  char* const argv[] = {program.data(), argument.data(), nullptr};
  pid_t child = -1;
  const int refused = ::posix_spawn(&child, engine.c_str(), &silent, nullptr, argv, environ);
  ::posix_spawn_file_actions_destroy(&silent);
  int status = 0;
  while (refused == 0 && ::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  constexpr int kLoaderFailed = 127;
  const bool loads = refused == 0 && WIFEXITED(status) && WEXITSTATUS(status) != kLoaderFailed;
  if (loads) return;
  throw OutOfMemoryError("the limit on memory leaves no room for LibTorch",
                         "`ulimit -v` and `ulimit -d` show it; some gigabytes of addresses are "
                         "needed, most of which take no memory");
}

}  // namespace

std::string this_program() {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (!error) return self.string();
  throw StorageError(fmt::format("cannot read /proc/self/exe: {}", error.message()),
                     "the engine is looked for beside this program");
}

void exec_engine(char* const* argv) {
  namespace fs = std::filesystem;
  std::error_code error;
  const fs::path engine = fs::path(this_program()).parent_path() / "switchyard-engine";
  if (!fs::exists(engine, error)) {
    throw UsageError(fmt::format("{} is missing", engine.string()),
                     "build the target switchyard-engine, or keep both programs in one folder");
  }
  check_that_it_loads(engine.string());
  // OpenMP reads this when it is loaded, hence here. Where the kernel tells how long threads wait
  // for cores the engine chooses for itself, and again when it changes (ops/thread_waiting.h).
  // Where it does not: threads that spin for long while they wait slow everything on a shared
  // machine down by an order of magnitude; threads that sleep at once are woken late. About 0.1 ms
  // of spinning is between.
  const bool chooses = seconds_this_thread_waited_for_a_core().has_value();
  if (!chooses && std::getenv("OMP_WAIT_POLICY") == nullptr) {
    ::setenv("GOMP_SPINCOUNT", "10000", 0);
  }
  ::execv(engine.c_str(), argv);
  throw StorageError(fmt::format("cannot run {}: {}", engine.string(), std::strerror(errno)));
}

}  // namespace switchyard::cli
