#include "switchyard/comm/flight_record.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <fstream>
#include <map>
#include <optional>
#include <set>
#include <system_error>
#include <utility>

#include "switchyard/core/file_id.h"
#include "switchyard/core/host.h"
#include "switchyard/core/text.h"

namespace switchyard::comm {
namespace {

namespace fs = std::filesystem;

template <std::size_t kSize>
void set(std::array<char, kSize>& field, std::string_view text) {
  const std::size_t length = std::min(text.size(), kSize - 1);
  std::memcpy(field.data(), text.data(), length);
  field[length] = '\0';
}

// Whatever is in the bytes.
template <std::size_t kSize>
std::string text_in(const std::array<char, kSize>& field) {
  return printable(std::string_view(field.data(), ::strnlen(field.data(), kSize)));
}

struct Entry {
  std::uint64_t flight = 0;  // 0 = none yet
  std::int64_t number = 0;
  std::int64_t bytes = 0;
  std::int64_t entered_ms = 0;
  std::uint32_t is_done = 0;
  std::array<char, 48> group{};
  std::array<char, 148> what{};
};

struct GroupEntry {
  std::int64_t last = 0;  // 0 = unused
  std::array<char, 48> name{};
};
constexpr std::size_t kMostGroups = 16;

constexpr std::array<char, 8> kMagic = {'s', 'y', 'f', 'l', 'i', 'g', 'h', '2'};

constexpr const char* kLives = "lives";

// Of a process of this host.
std::string condition_of(std::int64_t process) {
  if (::kill(static_cast<pid_t>(process), 0) != 0 && errno == ESRCH) return "is gone";
  std::ifstream file("/proc/" + std::to_string(process) + "/stat");
  std::string text;
  std::getline(file, text);
  const std::size_t state = text.rfind(')');  // behind the program's name
  if (state == std::string::npos || state + 2 >= text.size()) return "is gone";
  switch (text[state + 2]) {
    case 'T':
    case 't':
      return "is stopped";
    case 'Z':
    case 'X':
      return "is gone";
    default:
      return kLives;
  }
}

// The oldest.
const Flight* pending_of(const FlightLog& log) {
  const auto found = std::find_if(log.flights.begin(), log.flights.end(), [](const Flight& each) {
    return each.state == Flight::State::entered;
  });
  return found == log.flights.end() ? nullptr : &*found;
}

std::string name_of(const Flight& flight) {
  return fmt::format("{} (#{} of {})", flight.what, flight.number, flight.group);
}

// The last that it entered of the group; 0 when it is a member and has entered none yet; none when
// nothing says that it is a member.
std::optional<std::int64_t> last_number(const FlightLog& log, const std::string& group) {
  for (const FlightLog::Group& each : log.groups) {
    if (each.name == group) return each.last;
  }
  if (group == kAllRanks) return 0;
  return std::nullopt;
}

std::string last_seen(const FlightLog& log, const std::string& own_host) {
  std::string text;
  if (const Flight* const pending = pending_of(log)) {
    text = fmt::format("it waits in {}", name_of(*pending));
  } else if (!log.flights.empty()) {
    text = fmt::format("the last that it left is {}", name_of(log.flights.back()));
  } else {
    text = "it has entered none";
  }
  return log.host == own_host
             ? fmt::format("{}; its process {} {}", text, log.process, condition_of(log.process))
             : fmt::format("{}; process {} on {}", text, log.process, log.host);
}

}  // namespace

// As it is in a file.
struct FlightPage {
  std::array<char, 8> magic = kMagic;
  std::int64_t rank = 0;
  std::int64_t num_ranks = 0;
  std::int64_t process = 0;
  std::array<char, 64> host{};
  std::array<GroupEntry, kMostGroups> groups{};
  std::uint64_t num_flights = 0;
  std::array<Entry, FlightRecord::kMost> entries{};

  [[nodiscard]] FlightLog log() const {
    FlightLog found{.rank = rank,
                    .num_ranks = num_ranks,
                    .host = text_in(host),
                    .process = process,
                    .groups = {},
                    .flights = {}};
    for (const GroupEntry& group : groups) {
      if (group.last > 0) found.groups.push_back({.name = text_in(group.name), .last = group.last});
    }
    std::map<std::uint64_t, Flight> in_order;
    for (const Entry& entry : entries) {
      if (entry.flight == 0) continue;
      in_order[entry.flight] = {
          .group = text_in(entry.group),
          .number = entry.number,
          .what = text_in(entry.what),
          .bytes = entry.bytes,
          .state = entry.is_done != 0 ? Flight::State::done : Flight::State::entered,
          .entered_ms = entry.entered_ms};
    }
    for (auto& [flight, each] : in_order) found.flights.push_back(std::move(each));
    return found;
  }
};

FlightRecord::FlightRecord(std::int64_t rank, std::int64_t num_ranks)
    : page_(std::make_unique<FlightPage>()) {
  page_->rank = rank;
  page_->num_ranks = num_ranks;
  page_->process = ::getpid();
  set(page_->host, host_name());
}

FlightRecord::~FlightRecord() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void FlightRecord::keep_in(const fs::path& folder) {
  const std::scoped_lock lock(mutex_);
  if (descriptor_ >= 0) return;
  std::error_code error;
  fs::create_directories(folder, error);
  file_ = folder / std::to_string(page_->rank);
  fs::remove(file_, error);  // one that was left may have other names, as in a copy of the folder
  descriptor_ = ::open(file_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  write(page_.get(), sizeof(FlightPage));
}

void FlightRecord::forget() {
  const std::scoped_lock lock(mutex_);
  if (descriptor_ < 0) return;
  // The folder may have been moved, and its name be another run's.
  const bool is_ours = file_id(file_) == file_id(descriptor_);
  ::close(std::exchange(descriptor_, -1));
  if (!is_ours) return;
  std::error_code error;
  fs::remove(file_, error);
  fs::remove(file_.parent_path(), error);  // fails while another rank's is there
}

// What the disk does not take is lost: it is no reason to end a training.
void FlightRecord::write(const void* part, std::size_t bytes) const {
  if (descriptor_ < 0) return;
  const auto place = static_cast<const char*>(part) - reinterpret_cast<const char*>(page_.get());
  (void)!::pwrite(descriptor_, part, bytes, place);
}

std::uint64_t FlightRecord::enter(std::string_view group, std::int64_t number,
                                  std::string_view what, std::int64_t bytes) {
  const std::scoped_lock lock(mutex_);
  const std::uint64_t flight = ++page_->num_flights;
  Entry& entry = page_->entries[flight % kMost];
  entry = {.flight = flight,
           .number = number,
           .bytes = bytes,
           .entered_ms = milliseconds_now(),
           .is_done = 0,
           .group = {},
           .what = {}};
  set(entry.group, group);
  set(entry.what, what);
  write(&entry, sizeof(entry));
  for (GroupEntry& each : page_->groups) {
    if (each.last == 0) set(each.name, group);
    if (std::string_view(each.name.data()) != std::string_view(entry.group.data())) continue;
    each.last = number;
    write(&each, sizeof(each));
    break;
  }
  return flight;
}

void FlightRecord::leave(std::uint64_t flight) {
  const std::scoped_lock lock(mutex_);
  Entry& entry = page_->entries[flight % kMost];
  if (entry.flight != flight || entry.is_done != 0) return;
  entry.is_done = 1;
  write(&entry.is_done, sizeof(entry.is_done));
}

FlightLog FlightRecord::log() const {
  const std::scoped_lock lock(mutex_);
  return page_->log();
}

std::vector<FlightLog> read_flight_logs(const fs::path& folder) {
  std::map<std::int64_t, FlightLog> logs;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    std::ifstream file(entry->path(), std::ios::binary);
    auto page = std::make_unique<FlightPage>();
    std::array<char, sizeof(FlightPage)> bytes{};
    if (!file.read(bytes.data(), bytes.size())) continue;
    std::memcpy(static_cast<void*>(page.get()), bytes.data(), bytes.size());
    if (page->magic != kMagic || page->rank < 0) continue;
    logs[page->rank] = page->log();
  }
  std::vector<FlightLog> in_order;
  for (auto& [rank, log] : logs) in_order.push_back(std::move(log));
  return in_order;
}

std::string who_is_missing(const FlightLog& own, const std::vector<FlightLog>& others,
                           std::int64_t now_ms) {
  const Flight* const pending = pending_of(own);
  if (pending == nullptr) return {};
  std::string missing;
  std::vector<std::int64_t> waiting{own.rank};
  std::set<std::int64_t> known{own.rank};
  for (const FlightLog& other : others) {
    // What an earlier start with more ranks has left says nothing.
    if (other.rank == own.rank || other.rank >= own.num_ranks) continue;
    known.insert(other.rank);
    const std::optional<std::int64_t> last = last_number(other, pending->group);
    if (!last) continue;  // of another group, or not so far that it tells
    if (*last >= pending->number) {
      waiting.push_back(other.rank);
      const std::string condition =
          other.host == own.host ? condition_of(other.process) : std::string(kLives);
      if (condition != kLives) {
        missing += fmt::format("rank {} has entered it, but its process {} {}\n", other.rank,
                               other.process, condition);
      }
    } else {
      missing +=
          fmt::format("rank {} {}: {}\n", other.rank,
                      other.host == own.host ? "never entered it" : "was not seen to enter it",
                      last_seen(other, own.host));
    }
  }
  std::vector<std::int64_t> silent;
  for (std::int64_t rank = 0; rank < own.num_ranks; ++rank) {
    if (!known.contains(rank)) silent.push_back(rank);
  }
  std::sort(waiting.begin(), waiting.end());
  std::string text =
      fmt::format("{} has been under way for {} s; in it: {} {}\n", name_of(*pending),
                  std::max<std::int64_t>(0, now_ms - pending->entered_ms) / 1000,
                  waiting.size() == 1 ? "rank" : "ranks", fmt::join(waiting, ", "));
  text += missing;
  if (!silent.empty()) {
    text += fmt::format("no record of {} {}\n", silent.size() == 1 ? "rank" : "ranks",
                        fmt::join(silent, ", "));
  }
  return text;
}

std::int64_t milliseconds_now() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace switchyard::comm
