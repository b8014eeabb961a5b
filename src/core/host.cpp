#include "switchyard/core/host.h"

#include "switchyard/core/cores.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <fstream>
#include <functional>
#include <iterator>
#include <sstream>
#include <utility>

#include "switchyard/core/text.h"

namespace switchyard {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kLongestFile = std::size_t{1} << 24;

// At most kLongestFile bytes; empty when it cannot be read.
std::string text_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text;
  std::string line;
  while (text.size() < kLongestFile && std::getline(file, line)) text += line + '\n';
  return text;
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const std::size_t first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

template <typename Number>
std::optional<Number> number_of(std::string_view text) {
  text = trimmed(text);
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

void for_each_line(std::string_view text, const std::function<void(std::string_view)>& visit) {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    visit(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

// "key : value" and "key: value".
std::pair<std::string_view, std::string_view> key_and_value(std::string_view line) {
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos) return {};
  return {trimmed(line.substr(0, colon)), trimmed(line.substr(colon + 1))};
}

std::vector<std::string> words_of(std::string_view text) {
  std::istringstream stream{std::string(text)};
  return {std::istream_iterator<std::string>(stream), std::istream_iterator<std::string>()};
}

void read_cpuinfo(const fs::path& root, HostFacts& facts) {
  std::set<std::string> sockets;
  std::set<std::pair<std::string, std::string>> cores;
  std::string socket;
  for_each_line(text_of(root / "proc/cpuinfo"), [&](std::string_view line) {
    const auto [key, value] = key_and_value(line);
    if (key == "processor") {
      ++facts.num_threads;
    } else if (key == "model name" && facts.cpu_model.empty()) {
      facts.cpu_model = value;
    } else if (key == "flags" && facts.cpu_flags.empty()) {
      for (std::string& flag : words_of(value)) facts.cpu_flags.insert(std::move(flag));
    } else if (key == "physical id") {
      socket = value;
      sockets.insert(socket);
    } else if (key == "core id") {
      cores.emplace(socket, value);
    }
  });
  facts.num_sockets = static_cast<int>(sockets.size());
  facts.num_cores = cores.empty() ? facts.num_threads : static_cast<int>(cores.size());
}

// Processors in a list such as "0-3,8,10-11".
int count_of_list(std::string_view list) {
  int count = 0;
  for (const std::string_view part : split(list, ",")) {
    const std::size_t dash = part.find('-');
    const auto first = number_of<int>(part.substr(0, dash));
    const auto last =
        dash == std::string_view::npos ? first : number_of<int>(part.substr(dash + 1));
    if (first && last && *first <= *last) count += *last - *first + 1;
  }
  return count;
}

void read_status(const fs::path& root, HostFacts& facts) {
  for_each_line(text_of(root / "proc/self/status"), [&](std::string_view line) {
    const auto [key, value] = key_and_value(line);
    if (key == "Cpus_allowed_list") facts.num_allowed_threads = count_of_list(value);
  });
}

void read_meminfo(const fs::path& root, HostFacts& facts) {
  for_each_line(text_of(root / "proc/meminfo"), [&](std::string_view line) {
    const auto [key, value] = key_and_value(line);
    const auto kib = number_of<std::uint64_t>(value.substr(0, value.find(' ')));
    if (!kib) return;
    if (key == "MemTotal") facts.memory_bytes = *kib << 10U;
    if (key == "MemAvailable") facts.available_memory_bytes = *kib << 10U;
    if (key == "SwapTotal") facts.swap_bytes = *kib << 10U;
  });
}

// The file of this name in the cgroup of the process, then of every cgroup above it: a limit of any
// of them counts. Version 2 has one tree, version 1 one for each controller.
std::vector<std::string> cgroup_files(const fs::path& root, std::string_view controller,
                                      const std::string& file) {
  std::vector<std::string> texts;
  for_each_line(text_of(root / "proc/self/cgroup"), [&](std::string_view line) {
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (first == std::string_view::npos || second == std::string_view::npos) return;
    const std::string_view names = line.substr(first + 1, second - first - 1);
    const std::string all = "," + std::string(names) + ",";
    fs::path base = root / "sys/fs/cgroup";
    if (!names.empty()) {
      if (all.find("," + std::string(controller) + ",") == std::string::npos) return;
      base /= controller;
    }
    fs::path below = fs::path(line.substr(second + 1)).relative_path();
    while (true) {
      std::string text = text_of(base / below / file);
      if (!text.empty()) texts.push_back(std::move(text));
      if (below.empty()) return;
      below = below.parent_path();
    }
  });
  return texts;
}

void take_smaller(std::optional<double>& limit, double candidate) {
  if (candidate > 0 && (!limit || candidate < *limit)) limit = candidate;
}

void read_cgroup(const fs::path& root, HostFacts& facts) {
  for (const std::string& text : cgroup_files(root, "cpu", "cpu.max")) {  // version 2
    const auto words = words_of(text);
    if (words.size() != 2) continue;
    const auto quota = number_of<double>(words[0]);  // none for "max"
    const auto period = number_of<double>(words[1]);
    if (quota && period && *period > 0) take_smaller(facts.cpu_quota, *quota / *period);
  }
  const auto quotas = cgroup_files(root, "cpu", "cpu.cfs_quota_us");  // version 1; -1 = none
  const auto periods = cgroup_files(root, "cpu", "cpu.cfs_period_us");
  for (std::size_t i = 0; i < std::min(quotas.size(), periods.size()); ++i) {
    const auto quota = number_of<double>(quotas[i]);
    const auto period = number_of<double>(periods[i]);
    if (quota && period && *period > 0) take_smaller(facts.cpu_quota, *quota / *period);
  }
  for (const char* file : {"memory.max", "memory.limit_in_bytes"}) {
    for (const std::string& text : cgroup_files(root, "memory", file)) {
      const auto bytes = number_of<std::uint64_t>(text);  // none for "max"
      // Version 1 says "none" with a number near 2^63.
      if (!bytes || *bytes >= std::uint64_t{1} << 62U) continue;
      if (!facts.memory_limit_bytes || *bytes < *facts.memory_limit_bytes) {
        facts.memory_limit_bytes = *bytes;
      }
    }
  }
  for (const std::string& text : cgroup_files(root, "memory", "memory.swap.max")) {
    const auto bytes = number_of<std::uint64_t>(text);
    if (bytes) facts.swap_bytes = std::min(facts.swap_bytes, *bytes);
  }
}

void read_limits(const fs::path& root, HostFacts& facts) {
  for_each_line(text_of(root / "proc/self/limits"), [&](std::string_view line) {
    const auto soft_limit = [&](std::string_view name) -> std::optional<std::uint64_t> {
      if (!line.starts_with(name)) return std::nullopt;
      const auto words = words_of(line.substr(name.size()));
      if (words.empty()) return std::nullopt;
      return words[0] == "unlimited" ? kUnlimited : number_of<std::uint64_t>(words[0]);
    };
    if (const auto limit = soft_limit("Max open files")) facts.open_files_limit = limit;
    if (const auto limit = soft_limit("Max locked memory")) facts.locked_memory_limit_bytes = limit;
  });
}

void read_nvidia(const fs::path& root, HostFacts& facts) {
  const fs::path folder = root / "proc/driver/nvidia";
  // "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun ..."
  for (const std::string& word : words_of(text_of(folder / "version"))) {
    const bool is_version = std::count(word.begin(), word.end(), '.') >= 1 &&
                            word.find_first_not_of("0123456789.") == std::string::npos;
    if (is_version && facts.nvidia_driver.empty()) facts.nvidia_driver = word;
  }
  std::error_code error;
  for (const auto& card : fs::directory_iterator(folder / "gpus", error)) {
    for_each_line(text_of(card.path() / "information"), [&](std::string_view line) {
      const auto [key, value] = key_and_value(line);
      if (key == "Model") facts.nvidia_gpus.emplace_back(value);
    });
  }
}

// "ran waited slices", the first two in nanoseconds.
std::optional<double> waiting_seconds_in(const fs::path& schedstat) {
  std::uint64_t ran = 0;
  std::uint64_t waited = 0;
  std::ifstream file(schedstat);
  if (!(file >> ran >> waited)) return std::nullopt;
  return 1e-9 * static_cast<double>(waited);
}

}  // namespace

int HostFacts::num_available_cores() const {
  // A mask may name processors that are not there: those of a hot-plug machine that are off.
  int allowed = num_allowed_threads > 0 ? num_allowed_threads : num_threads;
  if (num_threads > 0) allowed = std::min(allowed, num_threads);
  allowed = std::max(1, allowed);
  if (!cpu_quota) return allowed;
  return std::clamp(static_cast<int>(std::ceil(*cpu_quota)), 1, allowed);
}

int num_available_cores() {
  return read_host_facts().num_available_cores();
}

int cores_of_one(int available, int allowed_here, int allowed_to_starter,
                 std::int64_t num_processes) {
  if (num_processes <= 1 || allowed_here * num_processes <= allowed_to_starter) return available;
  return static_cast<int>(std::max<std::int64_t>(1, available / num_processes));
}

int num_cores_of_one(std::int64_t num_processes) {
  const auto num_allowed = [](pid_t process) {
    cpu_set_t set;
    CPU_ZERO(&set);
    return ::sched_getaffinity(process, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 0;
  };
  return cores_of_one(num_available_cores(), num_allowed(0), num_allowed(::getppid()),
                      num_processes);
}

std::string host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0 || name[0] == '\0') return "?";
  std::string text = name.data();
  for (char& c : text) {
    if (c <= ' ' || c > '~') c = '_';
  }
  return text;
}

std::string machine_id() {
  std::string id;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> id;
  return id.empty() ? host_name() : id;
}

std::uint64_t resident_bytes() {
  std::uint64_t total_pages = 0;
  std::uint64_t resident_pages = 0;
  std::ifstream("/proc/self/statm") >> total_pages >> resident_pages;
  return resident_pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

std::optional<double> seconds_waiting_for_cores(const fs::path& threads) {
  std::optional<double> seconds;
  std::error_code error;
  for (const auto& thread : fs::directory_iterator(threads, error)) {
    // A thread may have ended meanwhile.
    if (const auto its = waiting_seconds_in(thread.path() / "schedstat")) {
      seconds = seconds.value_or(0.0) + *its;
    }
  }
  return seconds;
}

std::optional<double> seconds_this_thread_waited_for_a_core() {
  return waiting_seconds_in("/proc/thread-self/schedstat");
}

HostFacts read_host_facts(const fs::path& root) {
  HostFacts facts;
  read_cpuinfo(root, facts);
  read_status(root, facts);
  // Not what this process keeps to for a while by its own choice (cores.h).
  if (root == "/" && num_cores_before_kept() > 0) {
    facts.num_allowed_threads = num_cores_before_kept();
  }
  read_meminfo(root, facts);
  read_cgroup(root, facts);
  read_limits(root, facts);
  read_nvidia(root, facts);
  return facts;
}

std::optional<fs::path> find_program(std::string_view name, std::string_view path_variable) {
  while (!path_variable.empty()) {
    const std::size_t end = std::min(path_variable.find(':'), path_variable.size());
    const fs::path candidate = fs::path(path_variable.substr(0, end)) / name;
    std::error_code error;
    if (fs::is_regular_file(candidate, error) && ::access(candidate.c_str(), X_OK) == 0) {
      return candidate;
    }
    path_variable.remove_prefix(std::min(end + 1, path_variable.size()));
  }
  return std::nullopt;
}

}  // namespace switchyard
