#include "cli/front/engine.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <initializer_list>
#include <string>
#include <system_error>

#include "switchyard/core/error.h"
#include "switchyard/core/host.h"
#include "switchyard/core/terminal.h"
#include "switchyard/core/text.h"

namespace switchyard::cli {
namespace {

bool is_limited(decltype(RLIMIT_AS) resource) {
  rlimit limit{};
  return ::getrlimit(resource, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
}

// What a descriptor gives until its other end is closed, at most `kMostWords` bytes.
std::string words_from(int descriptor) {
  constexpr std::size_t kMostWords = 4096;
  std::string words;
  std::array<char, 512> buffer{};
  while (words.size() < kMostWords) {
    const ssize_t count = ::read(descriptor, buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    words.append(buffer.data(), static_cast<std::size_t>(count));
  }
  return words;
}

// How the engine starts and ends when it is given nothing to do.
struct Trial {
  int error_number = 0;  // it could not be started
  int status = 0;        // as waitpid() gives it
  std::string words;     // on its standard error
};

Trial try_engine(const std::string& engine) {
  Trial trial;
  int words[2] = {-1, -1};
  if (::pipe2(words, O_CLOEXEC) != 0) {
    trial.error_number = errno;
    return trial;
  }
  posix_spawn_file_actions_t streams;
  ::posix_spawn_file_actions_init(&streams);
  for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO}) {
    ::posix_spawn_file_actions_addopen(&streams, descriptor, "/dev/null", O_RDWR, 0);
  }
  ::posix_spawn_file_actions_adddup2(&streams, words[1], STDERR_FILENO);
  std::string program = engine;
  std::string argument = "--version";  // which the engine does not know: it ends at once
  char* const argv[] = {program.data(), argument.data(), nullptr};
  pid_t child = -1;
  trial.error_number = ::posix_spawn(&child, engine.c_str(), &streams, nullptr, argv, environ);
  ::posix_spawn_file_actions_destroy(&streams);
  ::close(words[1]);
  if (trial.error_number == 0) {
    trial.words = words_from(words[0]);
    while (::waitpid(child, &trial.status, 0) < 0 && errno == EINTR) {
    }
  }
  ::close(words[0]);
  return trial;
}

// Was it memory that the dynamic loader (glibc's dl-load.c, dl-map-segments.h) or the libraries'
// own start had too little of? What the loader did not find says something else.
bool ran_out_of_memory(const Trial& trial) {
  if (trial.error_number != 0) return trial.error_number == ENOMEM || trial.error_number == EAGAIN;
  if (WIFSIGNALED(trial.status)) return true;
  for (const char* sign :
       {"annot allocate", "failed to map", "cannot map", "annot create shared"}) {
    if (trial.words.find(sign) != std::string::npos) return true;
  }
  return false;
}

// Under a limit on memory the dynamic loader may find no room for LibTorch. It then ends the
// process with words of its own and an exit code that nobody takes for memory, so a process of its
// own tries it first.
void check_that_it_loads(const std::string& engine) {
  if (!is_limited(RLIMIT_AS) && !is_limited(RLIMIT_DATA)) return;
  const Trial trial = try_engine(engine);
  constexpr int kLoaderFailed = 127;
  if (trial.error_number == 0 && WIFEXITED(trial.status) &&
      WEXITSTATUS(trial.status) != kLoaderFailed) {
    return;
  }
  if (ran_out_of_memory(trial)) {
    throw OutOfMemoryError("the limit on memory leaves no room for LibTorch",
                           "`ulimit -v` and `ulimit -d` show it; some gigabytes of addresses are "
                           "needed, most of which take no memory");
  }
  throw StorageError(
      fmt::format("cannot start {}: {}", engine,
                  trial.error_number != 0
                      ? std::strerror(trial.error_number)
                      : printable(trial.words.substr(0, trial.words.find('\n')), 300)),
      "a library that it was built with may have been moved; tools/setup.sh and a build bring it "
      "back");
}

// Threads get stacks of this size, the first one as well, and LibTorch's do not check theirs. The
// limit that the shell set may be raised as far as the one that it may not exceed.
void make_room_for_stacks() {
  constexpr rlim_t kWanted = rlim_t{8} << 20U;
  constexpr rlim_t kLeast = rlim_t{512} << 10U;
  rlimit limit{};
  if (::getrlimit(RLIMIT_STACK, &limit) != 0 || limit.rlim_cur >= kLeast) return;
  limit.rlim_cur = std::min(kWanted, limit.rlim_max);
  if (limit.rlim_cur >= kLeast && ::setrlimit(RLIMIT_STACK, &limit) == 0) return;
  throw OutOfMemoryError(
      fmt::format("the limit on the stack, {}, leaves no room for LibTorch",
                  format_bytes(static_cast<std::uint64_t>(limit.rlim_max))),
      fmt::format("`ulimit -H -s` shows it; {} are enough", format_bytes(kLeast)));
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
  make_room_for_stacks();
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
