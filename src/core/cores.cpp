#include "switchyard/core/cores.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <ctime>
#include <fstream>
#include <functional>
#include <sstream>
#include <string>
#include <system_error>

namespace switchyard {
namespace {

namespace fs = std::filesystem;

std::atomic<int> num_before_kept{0};

// `visit(thread, its mask)` for every thread of this process.
void for_each_thread(const std::function<void(pid_t thread, const cpu_set_t& mask)>& visit) {
  std::error_code error;
  for (const auto& task : fs::directory_iterator("/proc/self/task", error)) {
    const std::string name = task.path().filename().string();
    pid_t thread = 0;
    std::from_chars(name.data(), name.data() + name.size(), thread);
    cpu_set_t mask;
    CPU_ZERO(&mask);
    if (thread > 0 && ::sched_getaffinity(thread, sizeof mask, &mask) == 0) visit(thread, mask);
  }
}

bool holds(const cpu_set_t& all, const cpu_set_t& some) {
  cpu_set_t both;
  CPU_AND(&both, &all, &some);
  return CPU_EQUAL(&both, &some) != 0;
}

constexpr int kRounds = 2;  // a thread may begin another while the first round is on its way

}  // namespace

std::vector<int> allowed_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> cores;
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return cores;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(core, &set)) cores.push_back(core);
  }
  return cores;
}

std::optional<CoreSeconds> seconds_of_cores(const std::vector<int>& cores, const fs::path& stat) {
  if (cores.empty()) return std::nullopt;
  const double ticks = static_cast<double>(::sysconf(_SC_CLK_TCK));
  const bool is_nice = ::getpriority(PRIO_PROCESS, 0) > 0;
  CoreSeconds seconds;
  std::size_t num_found = 0;
  std::ifstream lines(stat);
  for (std::string line; std::getline(lines, line);) {
    // cpu3 user nice system idle iowait irq softirq steal ...
    int core = -1;
    const char* const end = line.data() + line.size();
    if (!line.starts_with("cpu") || line.starts_with("cpu ")) continue;
    const char* const after = std::from_chars(line.data() + 3, end, core).ptr;
    if (!std::binary_search(cores.begin(), cores.end(), core)) continue;
    std::istringstream numbers(std::string(after, end));
    double user = 0.0, nice = 0.0, system = 0.0, idle = 0.0, iowait = 0.0, irq = 0.0, soft = 0.0;
    if (!(numbers >> user >> nice >> system >> idle >> iowait >> irq >> soft)) return std::nullopt;
    seconds.busy += (user + (is_nice ? nice : 0.0) + system + irq + soft) / ticks;
    seconds.idle += (idle + (is_nice ? 0.0 : nice) + iowait) / ticks;
    ++num_found;
  }
  if (num_found != cores.size()) return std::nullopt;
  return seconds;
}

double seconds_computed() {
  timespec time{};
  (void)::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

std::vector<int> choose_cores(const std::vector<int>& cores, std::int64_t count,
                              std::int64_t turn) {
  const auto num = static_cast<std::int64_t>(cores.size());
  std::vector<int> chosen;
  for (std::int64_t i = 0; i < std::min(count, num); ++i) {
    chosen.push_back(cores[static_cast<std::size_t>((turn + i * num / count) % num)]);
  }
  std::sort(chosen.begin(), chosen.end());
  return chosen;
}

KeptToCores::KeptToCores(const std::vector<int>& cores) {
  CPU_ZERO(&before_);
  CPU_ZERO(&kept_);
  if (::sched_getaffinity(0, sizeof before_, &before_) != 0) return;
  for (const int core : cores) CPU_SET(core, &kept_);
  for_each_thread([this](pid_t thread, const cpu_set_t& mask) {
    if (!CPU_EQUAL(&mask, &before_)) left_alone_.insert(thread);
  });
  num_before_kept = CPU_COUNT(&before_);
  for (int round = 0; round < kRounds; ++round) {
    for_each_thread([this](pid_t thread, const cpu_set_t& mask) {
      if (CPU_EQUAL(&mask, &before_)) (void)::sched_setaffinity(thread, sizeof kept_, &kept_);
    });
  }
}

// Some libraries put a thread on fewer cores for a while, and back to what it had then: whatever is
// among those that were kept to is given all.
KeptToCores::~KeptToCores() {
  if (CPU_COUNT(&before_) == 0) return;
  for (int round = 0; round < kRounds; ++round) {
    for_each_thread([this](pid_t thread, const cpu_set_t& mask) {
      if (left_alone_.contains(thread) || !holds(kept_, mask)) return;
      (void)::sched_setaffinity(thread, sizeof before_, &before_);
    });
  }
  num_before_kept = 0;
}

int num_cores_before_kept() {
  return num_before_kept;
}

}  // namespace switchyard
