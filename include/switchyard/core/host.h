// What the machine offers this process: processors, memory, limits, graphics cards. Read from the
// files of the kernel, under a folder that tests replace.
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace switchyard {

inline constexpr std::uint64_t kUnlimited = std::numeric_limits<std::uint64_t>::max();

// What could not be read is 0, empty or none.
struct HostFacts {
  std::string cpu_model;            // "AMD EPYC 9R14"
  std::set<std::string> cpu_flags;  // as the kernel spells them: "avx2", "avx512_bf16"
  int num_sockets = 0;
  int num_cores = 0;                // without hyper-threads
  int num_threads = 0;              // what the kernel calls processors
  int num_allowed_threads = 0;      // of this process's affinity mask
  std::optional<double> cpu_quota;  // of the cgroup and those above it, in processors

  std::uint64_t memory_bytes = 0;
  std::uint64_t available_memory_bytes = 0;
  std::optional<std::uint64_t> memory_limit_bytes;  // of the cgroup and those above it
  std::uint64_t swap_bytes = 0;                     // no more than the cgroups allow

  // Soft limits; kUnlimited for none.
  std::optional<std::uint64_t> open_files_limit;
  std::optional<std::uint64_t> locked_memory_limit_bytes;

  std::string nvidia_driver;             // "580.65.06"
  std::vector<std::string> nvidia_gpus;  // "NVIDIA H200", one per card

  [[nodiscard]] bool has_flag(std::string_view flag) const {
    return cpu_flags.contains(std::string(flag));
  }
  // Products of bf16 numbers in hardware; without, bf16 is slower than fp32.
  [[nodiscard]] bool has_bf16_products() const {
    return has_flag("avx512_bf16") || has_flag("amx_bf16");
  }
  // Cores this process may keep busy: its affinity mask, less where a cgroup's CPU quota allows
  // less (rounded up). At least 1.
  [[nodiscard]] int num_available_cores() const;
};

// `root` stands for "/". Never throws for what is missing or of another form.
[[nodiscard]] HostFacts read_host_facts(const std::filesystem::path& root = "/");

// Of this machine.
[[nodiscard]] int num_available_cores();
// This process's share of `available` cores when `num_processes` were started together on this
// machine: all of them where the program that started them bound each to cores of its own, so that
// it may run on fewer than that program itself.
[[nodiscard]] int cores_of_one(int available, int allowed_here, int allowed_to_starter,
                               std::int64_t num_processes);
[[nodiscard]] int num_cores_of_one(std::int64_t num_processes);

// Of this machine, printable and without spaces; "?" where it has none.
[[nodiscard]] std::string host_name();
// Of this machine until it boots again, without spaces: containers on it have the same one.
[[nodiscard]] std::string machine_id();

// Resident memory of this process; 0 when the kernel does not tell.
[[nodiscard]] std::uint64_t resident_bytes();

// Seconds in which threads could have run and waited for a core, in all since they began, as the
// kernel counts: of all threads that this process has now, and of the one that calls. None where it
// does not tell.
[[nodiscard]] std::optional<double> seconds_waiting_for_cores(
    const std::filesystem::path& threads = "/proc/self/task");
[[nodiscard]] std::optional<double> seconds_this_thread_waited_for_a_core();

// The folders of the variable PATH in which a program of this name can be started; the first one.
[[nodiscard]] std::optional<std::filesystem::path> find_program(std::string_view name,
                                                                std::string_view path_variable);

}  // namespace switchyard
