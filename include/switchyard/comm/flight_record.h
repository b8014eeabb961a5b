// The last collectives of a rank, kept where they outlive it, and what the records of all ranks say
// when one of them does not come: who is missing, and where.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace switchyard::comm {

inline constexpr const char* kAllRanks = "all ranks";

// One collective of one rank. Those of a group have the same number on all ranks of it.
struct Flight {
  enum class State { entered, done };
  std::string group;        // "all ranks", or the name that split() got and the group's number
  std::int64_t number = 0;  // in the group, from 1
  std::string what;         // "all_reduce_sum 'losses'"
  std::int64_t bytes = 0;   // of this rank's tensors
  State state = State::entered;
  std::int64_t entered_ms = 0;  // since 1970
};

// A record as it was found.
struct FlightLog {
  struct Group {
    std::string name;
    std::int64_t last = 0;  // number of the last collective that was entered
  };
  std::int64_t rank = 0;  // among all
  std::int64_t num_ranks = 0;
  std::string host;
  std::int64_t process = 0;
  std::vector<Group> groups;    // those that this rank has entered a collective of
  std::vector<Flight> flights;  // oldest first
};

struct FlightPage;

// Of this rank; may be used by several threads.
class FlightRecord {
 public:
  static constexpr std::size_t kMost = 256;

  FlightRecord(std::int64_t rank, std::int64_t num_ranks);
  ~FlightRecord();
  FlightRecord(const FlightRecord&) = delete;
  FlightRecord& operator=(const FlightRecord&) = delete;

  // From here on it is also in `folder`/RANK, written at every change, so that it is there whatever
  // becomes of the process. Where that cannot be, it stays in memory.
  void keep_in(const std::filesystem::path& folder);
  // Takes the file away again, and the folder with the last one.
  void forget();

  // Returns what leave() is to be told.
  [[nodiscard]] std::uint64_t enter(std::string_view group, std::int64_t number,
                                    std::string_view what, std::int64_t bytes);
  void leave(std::uint64_t flight);
  [[nodiscard]] FlightLog log() const;

 private:
  mutable std::mutex mutex_;
  void write(const void* part, std::size_t bytes) const;

  std::unique_ptr<FlightPage> page_;
  int descriptor_ = -1;  // of file_
  std::filesystem::path file_;
};

// Those of all ranks that are in the folder, by rank.
[[nodiscard]] std::vector<FlightLog> read_flight_logs(const std::filesystem::path& folder);

// Given this rank's record and those of others: the collective that it has waited in longest, since
// when, which ranks are in it too, and who never entered it, with what they did last and whether
// their processes live. Of ranks on other hosts it is what was last seen: file systems are late.
// Empty when it waits in none.
[[nodiscard]] std::string who_is_missing(const FlightLog& own, const std::vector<FlightLog>& others,
                                         std::int64_t now_ms);
[[nodiscard]] std::int64_t milliseconds_now();

}  // namespace switchyard::comm
