// Ranks as processes of this machine that nothing but us starts: torchrun's variables tell them who
// they are and where to meet.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace switchyard::cli {

class LocalRanks {
 public:
  // Forks the ranks, in a process group of their own; `run` becomes one of them and does not come
  // back. Rank 0 inherits the socket at which they meet, so that two launches at once never ask for
  // the same port. Throws OutOfMemoryError or StorageError where the system refuses.
  LocalRanks(std::int64_t num_ranks, const std::function<void()>& run);
  ~LocalRanks();  // none is left
  LocalRanks(const LocalRanks&) = delete;
  LocalRanks& operator=(const LocalRanks&) = delete;

  [[nodiscard]] pid_t process_group() const { return group_; }
  // Waits for all of them. Returns the wait status of the first that failed, whose number is then
  // logged; what it leaves behind waits for it, and is ended a little later. Ranks that stop
  // together (exit codes 75 and 76) do so by themselves.
  int wait();

 private:
  [[nodiscard]] std::int64_t rank_of(pid_t process) const;
  void end_all();

  pid_t group_ = 0;
  std::vector<pid_t> processes_;  // by rank; 0 = has ended
};

// For a child: a signal for when its parent dies, at once if it is dead.
void die_with(pid_t parent, int signal);
// Becomes the program that is found as a shell finds it. Exits with 127 when there is none.
[[noreturn]] void run_program(const std::vector<std::string>& arguments);

}  // namespace switchyard::cli
