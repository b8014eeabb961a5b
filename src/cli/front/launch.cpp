#include "cli/front/launch.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "cli/front/local_ranks.h"
#include "cli/front/relay.h"
#include "switchyard/config/checkpoint_names.h"
#include "switchyard/config/folders.h"
#include "switchyard/core/error.h"
#include "switchyard/core/exit_code.h"
#include "switchyard/core/host.h"
#include "switchyard/core/log.h"
#include "switchyard/core/stop_request.h"
#include "switchyard/core/text.h"

namespace switchyard::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::array kSignals = {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGXCPU};

volatile std::sig_atomic_t num_signals = 0;
std::atomic<std::int64_t> first_signal_at = 0;
volatile pid_t starter = 0;  // mpirun, or minus the process group of the ranks

// The ranks save and stop at SIGUSR1, which mpirun passes on to them. At a SIGTERM mpirun ends them
// at once, and so does a rank itself when it is its second signal.
void pass_on(int signal) {
  if (num_signals == 0) {
    first_signal_at = monotonic_nanoseconds();
  } else if (signal == SIGXCPU || is_same_request(first_signal_at)) {
    return;  // the one comes again and again, behind a soft limit
  }
  num_signals = num_signals + 1;
  if (starter != 0) ::kill(starter, num_signals == 1 ? SIGUSR1 : SIGTERM);
  ::alarm(1);
}

// What reaches mpirun before it has ranks to pass it on to is lost. A rank that has it already
// takes no notice of a second one.
void pass_on_again(int /*signal*/) {
  if (num_signals != 1) return;
  if (starter != 0) ::kill(starter, SIGUSR1);
  ::alarm(1);
}

void catch_signals() {
  struct sigaction action {};
  action.sa_handler = &pass_on;
  ::sigemptyset(&action.sa_mask);
  for (const int signal : kSignals) ::sigaddset(&action.sa_mask, signal);
  ::sigaddset(&action.sa_mask, SIGALRM);
  for (const int signal : kSignals) {
    struct sigaction before {};
    ::sigaction(signal, nullptr, &before);
    if (signal == SIGHUP && before.sa_handler == SIG_IGN) continue;  // nohup
    ::sigaction(signal, &action, nullptr);
  }
  action.sa_handler = &pass_on_again;
  ::sigaction(SIGALRM, &action, nullptr);
  // A reader that goes away ends what is said, not the ranks; caught, because what is ignored would
  // be ignored by the programs that are started, too.
  action.sa_handler = [](int /*signal*/) {};
  ::sigaction(SIGPIPE, &action, nullptr);
  (void)std::signal(SIGCHLD,
                    SIG_DFL);  // ignored by some parents, and then nobody can be waited for
}

// Ranks share the cores as they are, and may be more than these; each MPI has its own names.
void set_up_environment() {
  struct Variable {
    const char* name;
    const char* value;
  };
  for (const Variable& variable : {Variable{"OMPI_MCA_rmaps_base_oversubscribe", "1"},
                                   {"OMPI_MCA_hwloc_base_binding_policy", "none"},
                                   {"OMPI_ALLOW_RUN_AS_ROOT", "1"},
                                   {"OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"},
                                   {"PRTE_MCA_rmaps_default_mapping_policy", ":oversubscribe"},
                                   {"PRTE_MCA_hwloc_default_binding_policy", "none"}}) {
    ::setenv(variable.name, variable.value, 0);
  }
}

constexpr int kNotStarted = -1;

// Holds our signals back until it is gone.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t ours;
    ::sigemptyset(&ours);
    for (const int signal : kSignals) ::sigaddset(&ours, signal);
    ::sigprocmask(SIG_BLOCK, &ours, &before_);
  }
  ~SignalsBlocked() { ::sigprocmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;
  [[nodiscard]] const sigset_t& before() const { return before_; }

 private:
  sigset_t before_{};
};

// In the child: signals as they were before ours, and then another program.
[[noreturn]] void become(const std::vector<std::string>& arguments, const SignalsBlocked& blocked) {
  for (const int signal : kSignals) {
    struct sigaction now {};
    ::sigaction(signal, nullptr, &now);
    if (now.sa_handler == &pass_on) std::signal(signal, SIG_DFL);
  }
  ::sigprocmask(SIG_SETMASK, &blocked.before(), nullptr);
  run_program(arguments);
}

int exit_status(int status) {
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

// The exit status of one start, kNotStarted when a stop came before.
int run_mpirun(const std::vector<std::string>& arguments) {
  const pid_t launcher = ::getpid();
  pid_t child = -1;
  Relay output(STDOUT_FILENO);
  Relay messages(STDERR_FILENO);
  {
    const SignalsBlocked blocked;
    if (num_signals > 0) return kNotStarted;
    child = ::fork();
    if (child == 0) {
      // Of its own group, so that what a terminal sends to ours comes here first; and gone with us.
      ::setpgid(0, 0);
      die_with(launcher, SIGTERM);
      output.redirect();
      messages.redirect();
      become(arguments, blocked);
    }
    if (child < 0) {
      throw OutOfMemoryError(fmt::format("cannot start mpirun: {}", std::strerror(errno)));
    }
    starter = child;
  }
  output.begin();
  messages.begin();
  int status = 0;
  pid_t ended = -1;
  do {
    ended = ::waitpid(child, &status, 0);
  } while (ended < 0 && errno == EINTR);
  starter = 0;
  SWITCHYARD_CHECK(ended == child, "mpirun cannot be waited for: {}", std::strerror(errno));
  return exit_status(status);
}

int run_on_gpus(const std::vector<std::string>& arguments, std::int64_t num_ranks) {
  const pid_t launcher = ::getpid();
  std::optional<LocalRanks> ranks;
  {
    const SignalsBlocked blocked;
    if (num_signals > 0) return kNotStarted;
    ranks.emplace(num_ranks, [&] {
      die_with(launcher, SIGKILL);
      become(arguments, blocked);
    });
    starter = -ranks->process_group();
  }
  const int status = exit_status(ranks->wait());
  starter = 0;
  return status;
}

// Codes above 128 are of ranks that a signal ended.
int code_of(int status) {
  return status > 128 ? static_cast<int>(kExitPeer) : status;
}

// What cannot be better the next time: done, a mistake of the user's, data, a stop, numbers.
bool is_final(int code) {
  constexpr std::array kFinal = {static_cast<int>(kExitDone), static_cast<int>(kExitUsage),
                                 static_cast<int>(kExitBadData), static_cast<int>(kExitPreempted),
                                 static_cast<int>(kExitNonFinite)};
  return std::find(kFinal.begin(), kFinal.end(), code) != kFinal.end();
}

// The run in `folder`, or the runs of a grid below it, such as OUTPUT/TASK/seed-1.
std::vector<fs::path> runs_in(const fs::path& folder) {
  const auto is_run = [](const fs::path& path) {
    std::error_code error;
    return fs::exists(path / config::kRunLockName, error) ||
           fs::exists(path / config::kCheckpointsFolderName, error);
  };
  if (is_run(folder)) return {folder};
  std::vector<fs::path> runs;
  constexpr int kDeepest = 4;
  std::error_code error;
  for (fs::recursive_directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    std::error_code unreadable;
    if (!entry->is_directory(unreadable)) continue;
    if (is_run(entry->path())) runs.push_back(entry->path());
    if (entry.depth() >= kDeepest || is_run(entry->path())) entry.disable_recursion_pending();
  }
  return runs;
}

// The newest ones that a resume goes on from, by run; -1 = none.
std::map<fs::path, std::int64_t> newest_steps(const fs::path& folder) {
  std::map<fs::path, std::int64_t> steps;
  for (const fs::path& run : runs_in(folder)) {
    const fs::path newest = config::named_checkpoint(run, "latest");
    steps[run] = config::step_in_name(newest.filename().string()).value_or(-1);
  }
  return steps;
}

std::string where_to_go_on(const std::map<fs::path, std::int64_t>& saved, const fs::path& run) {
  if (saved.size() == 1 && saved.contains(run) && saved.at(run) >= 0) {
    return fmt::format("from step {}", saved.at(run));
  }
  const bool some =
      std::any_of(saved.begin(), saved.end(), [](const auto& at) { return at.second >= 0; });
  return some ? "from what is saved" : "from the beginning";
}

// A rank may take a while to be gone, and its lock with it; whoever holds it longer is another run.
void wait_for_lock(const fs::path& run) {
  constexpr int kTries = 300;
  const int descriptor = ::open((run / config::kRunLockName).c_str(), O_RDWR | O_CLOEXEC);
  if (descriptor < 0) return;
  for (int tries = 0; tries < kTries && num_signals == 0; ++tries) {
    if (::flock(descriptor, LOCK_EX | LOCK_NB) == 0) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  ::close(descriptor);
}

}  // namespace

int launch(const Launch& what) {
  const char* const path = std::getenv("PATH");
  if (!what.on_gpus && !find_program("mpirun", path == nullptr ? "" : path)) {
    throw UsageError("there is no mpirun here, which starts the ranks",
                     "install Open MPI (tools/setup.sh --mpi)");
  }
  set_up_environment();
  catch_signals();
  std::int64_t num_left = what.num_restarts;
  std::map<fs::path, std::int64_t> saved = newest_steps(what.run);
  const std::vector<std::string>* command = &what.command;
  while (true) {
    std::vector<std::string> arguments = {"mpirun", "-n", std::to_string(what.num_ranks)};
    arguments.insert(arguments.end(), command->begin(), command->end());
    const int status = what.on_gpus ? run_on_gpus(*command, what.num_ranks) : run_mpirun(arguments);
    if (num_signals > 0 && (status == kNotStarted || status == 128 + SIGUSR1)) {
      log::info("stopped before the ranks began to train");
      return kExitPreempted;
    }
    const int code = code_of(status);
    if (status > 128 && !what.on_gpus) log::error("a rank was ended by signal {}", status - 128);
    // At the second signal mpirun ends the ranks as they are, with a code of its own.
    if (num_signals > 1 && !is_final(code)) return 128 + SIGTERM;
    if (is_final(code) || num_signals > 0) return code;
    std::map<fs::path, std::int64_t> now = newest_steps(what.run);
    const bool has_moved = now != saved;
    if (has_moved) num_left = what.num_restarts;
    saved = std::move(now);
    if (num_left == 0) return code;
    --num_left;
    if (has_moved || !what.goes_back) command = &what.command_again;
    for (const auto& [run, step] : saved) wait_for_lock(run);
    log::warning("the ranks ended with exit code {}: starting them again {}", code,
                 command == &what.command ? "as before" : where_to_go_on(saved, what.run));
  }
}

}  // namespace switchyard::cli
