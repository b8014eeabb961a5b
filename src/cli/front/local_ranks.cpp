#include "cli/front/local_ranks.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <thread>

#include "switchyard/core/error.h"
#include "switchyard/core/exit_code.h"
#include "switchyard/core/log.h"
#include "switchyard/core/ranks.h"

namespace switchyard::cli {
namespace {

constexpr const char* kHere = "127.0.0.1";

// Listens at a port that nobody else has.
class Socket {
 public:
  Socket() : descriptor_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = ::inet_addr(kHere);
    socklen_t size = sizeof(address);
    auto* const generic = reinterpret_cast<sockaddr*>(&address);
    if (descriptor_ < 0 || ::bind(descriptor_, generic, size) != 0 ||
        ::listen(descriptor_, SOMAXCONN) != 0 || ::getsockname(descriptor_, generic, &size) != 0) {
      const int error = errno;
      if (descriptor_ >= 0) ::close(descriptor_);
      throw StorageError(
          fmt::format("no socket at which the ranks could meet: {}", std::strerror(error)));
    }
    port_ = ntohs(address.sin_port);
  }
  ~Socket() { ::close(descriptor_); }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  [[nodiscard]] int descriptor() const { return descriptor_; }
  [[nodiscard]] int port() const { return port_; }

 private:
  int descriptor_;
  int port_ = 0;
};

void set_variables(std::int64_t rank, std::int64_t num_ranks, const Socket& socket) {
  using namespace rank_variables;
  const auto set = [](const char* name, std::int64_t value) {
    ::setenv(name, std::to_string(value).c_str(), 1);
  };
  set(kRank, rank);
  set(kLocalRank, rank);
  set(kNumRanks, num_ranks);
  set(kNumLocalRanks, num_ranks);
  ::setenv(kHost, kHere, 1);
  set(kPort, socket.port());
  // What another starter has said of the launcher is not about its ranks.
  for (const char* name : {"TORCHELASTIC_USE_AGENT_STORE", "PMI_RANK", "PMI_SIZE",
                           "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"}) {
    ::unsetenv(name);
  }
  if (rank == 0) {
    set(kListeningSocket, socket.descriptor());
  } else {
    ::unsetenv(kListeningSocket);
    ::close(socket.descriptor());
  }
}

bool ends_all(int status) {
  return !WIFEXITED(status) ||
         (WEXITSTATUS(status) != kExitDone && WEXITSTATUS(status) != kExitPreempted &&
          WEXITSTATUS(status) != kExitNonFinite);
}

}  // namespace

LocalRanks::LocalRanks(std::int64_t num_ranks, const std::function<void()>& run) {
  const Socket socket;
  for (std::int64_t rank = 0; rank < num_ranks; ++rank) {
    const pid_t child = ::fork();
    if (child == 0) {
      ::setpgid(0, group_);
      set_variables(rank, num_ranks, socket);
      run();
      ::_exit(kExitInternal);
    }
    if (child < 0) {
      const int error = errno;
      end_all();
      throw OutOfMemoryError(fmt::format("cannot start rank {}: {}", rank, std::strerror(error)));
    }
    if (group_ == 0) group_ = child;
    ::setpgid(child, group_);  // whichever of the two comes first
    processes_.push_back(child);
  }
}

LocalRanks::~LocalRanks() {
  end_all();
}

void LocalRanks::end_all() {
  const bool is_any_left =
      std::any_of(processes_.begin(), processes_.end(), [](pid_t process) { return process != 0; });
  if (!is_any_left) return;
  ::kill(-group_, SIGKILL);
  for (pid_t& process : processes_) {
    if (process != 0) ::waitpid(process, nullptr, 0);
    process = 0;
  }
}

std::int64_t LocalRanks::rank_of(pid_t process) const {
  return std::find(processes_.begin(), processes_.end(), process) - processes_.begin();
}

int LocalRanks::wait() {
  using std::chrono::steady_clock;
  constexpr std::chrono::seconds kGrace{5};  // for others to say what they met
  constexpr std::chrono::milliseconds kNap{20};
  int first_failure = 0;
  std::optional<steady_clock::time_point> end;
  auto num_left = static_cast<std::int64_t>(processes_.size());
  while (num_left > 0) {
    int status = 0;
    const pid_t ended = ::waitpid(-group_, &status, end ? WNOHANG : 0);
    if (ended > 0) {
      const std::int64_t rank = rank_of(ended);
      processes_[static_cast<std::size_t>(rank)] = 0;
      --num_left;
      if (status != 0 && first_failure == 0) first_failure = status;
      if (ends_all(status) && !end) {
        end = steady_clock::now() + kGrace;
        if (WIFSIGNALED(status) && WTERMSIG(status) == SIGUSR1) {
          // Our own, before it could catch it.
        } else if (WIFSIGNALED(status)) {
          log::error("rank {} was ended by signal {}", rank, WTERMSIG(status));
        } else if (num_left > 0) {
          log::error("rank {} ended with exit code {}, and the others cannot go on without it",
                     rank, WEXITSTATUS(status));
        }
        first_failure = status;
      }
    } else if (ended < 0 && errno != EINTR) {
      break;  // nobody is left to be waited for
    } else if (end) {
      if (steady_clock::now() > *end) ::kill(-group_, SIGKILL);
      std::this_thread::sleep_for(kNap);
    }
  }
  return first_failure;
}

void die_with(pid_t parent, int signal) {
  ::prctl(PR_SET_PDEATHSIG, signal);
  if (::getppid() != parent) ::_exit(kExitPeer);
}

void run_program(const std::vector<std::string>& arguments) {
  std::vector<char*> argv;
  argv.reserve(arguments.size() + 1);
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  ::execvp(argv[0], argv.data());
  ::_exit(127);
}

}  // namespace switchyard::cli
