// The cores that this process may use: which they are, what they do, and keeping to some of them.
#pragma once

#include <sched.h>
#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <set>
#include <vector>

namespace switchyard {

// Of the calling thread, ascending. Empty where the system does not tell.
[[nodiscard]] std::vector<int> allowed_cores();

// What cores have done since the system began, all of them together. Processes that were asked to
// be nice make way, so to one that was not they are no more than idling.
struct CoreSeconds {
  double busy = 0.0;  // with any process
  double idle = 0.0;
};
// None where `stat`, as Linux writes it, does not tell of each of `cores`.
[[nodiscard]] std::optional<CoreSeconds> seconds_of_cores(
    const std::vector<int>& cores, const std::filesystem::path& stat = "/proc/stat");

// Processor time of all threads of this process, in seconds.
[[nodiscard]] double seconds_computed();

// `count` of `cores`, spread evenly over their order; another `turn`, other ones.
[[nodiscard]] std::vector<int> choose_cores(const std::vector<int>& cores, std::int64_t count,
                                            std::int64_t turn);

// While it lives, the threads of this process run on `cores` only; those that begin meanwhile
// inherit that. Threads bound otherwise than the one that makes this are left alone. One at a time.
class KeptToCores {
 public:
  explicit KeptToCores(const std::vector<int>& cores);
  KeptToCores(const KeptToCores&) = delete;
  KeptToCores& operator=(const KeptToCores&) = delete;
  ~KeptToCores();

 private:
  cpu_set_t before_{};
  cpu_set_t kept_{};
  std::set<pid_t> left_alone_;
};
// As many as the process could use before it was kept to some; 0 while it is not.
[[nodiscard]] int num_cores_before_kept();

}  // namespace switchyard
