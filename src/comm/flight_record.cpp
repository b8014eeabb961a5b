#include "switchyard/comm/flight_record.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <fstream>
#include <map>
#include <set>
#include <system_error>

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

constexpr std::array<char, 8> kMagic = {'s', 'y', 'f', 'l', 'i', 'g', 'h', '1'};

std::string host_name() {
  std::array<char, 64> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? std::string(name.data()) : "?";
}

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
      return "lives";
  }
}

const Flight* pending_of(const FlightLog& log) {
  const auto found = std::find_if(log.flights.rbegin(), log.flights.rend(), [](const Flight& each) {
    return each.state == Flight::State::entered;
  });
  return found == log.flights.rend() ? nullptr : &*found;
}

std::string name_of(const Flight& flight) {
  return fmt::format("{} (#{} of {})", flight.what, flight.number, flight.group);
}

// Only what is seen: a group's members are those whose records have flights of it.
bool is_member(const FlightLog& log, const std::string& group) {
  return std::any_of(log.flights.begin(), log.flights.end(),
                     [&group](const Flight& each) { return each.group == group; });
}

std::int64_t last_number(const FlightLog& log, const std::string& group) {
  std::int64_t last = 0;
  for (const Flight& each : log.flights) {
    if (each.group == group) last = std::max(last, each.number);
  }
  return last;
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
             : fmt::format("{}; its process is {} on {}", text, log.process, log.host);
}

}  // namespace

struct FlightPage {
  std::array<char, 8> magic = kMagic;
  std::int64_t rank = 0;
  std::int64_t num_ranks = 0;
  std::int64_t process = 0;
  std::array<char, 64> host{};
  std::uint64_t num_flights = 0;
  std::array<Entry, FlightRecord::kMost> entries{};

  [[nodiscard]] FlightLog log() const {
    FlightLog found{.rank = rank,
                    .num_ranks = num_ranks,
                    .host = text_in(host),
                    .process = process,
                    .flights = {}};
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
    : own_(std::make_unique<FlightPage>()), page_(own_.get()) {
  page_->rank = rank;
  page_->num_ranks = num_ranks;
  page_->process = ::getpid();
  set(page_->host, host_name());
}

FlightRecord::~FlightRecord() {
  if (page_ != own_.get()) ::munmap(page_, sizeof(FlightPage));
}

void FlightRecord::keep_in(const fs::path& folder) {
  const std::scoped_lock lock(mutex_);
  if (page_ != own_.get()) return;
  std::error_code error;
  fs::create_directories(folder, error);
  const fs::path file = folder / std::to_string(page_->rank);
  fs::remove(file, error);  // another process may still have it mapped
  const int descriptor = ::open(file.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (descriptor < 0) return;
  // All of it now: a disk that is full later would end the process.
  void* memory = MAP_FAILED;
  if (::posix_fallocate(descriptor, 0, sizeof(FlightPage)) == 0) {
    memory = ::mmap(nullptr, sizeof(FlightPage), PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  }
  ::close(descriptor);
  if (memory == MAP_FAILED) {
    fs::remove(file, error);
    return;
  }
  page_ = new (memory) FlightPage(*own_);
  file_ = file;
}

void FlightRecord::forget() {
  const std::scoped_lock lock(mutex_);
  if (page_ == own_.get()) return;
  *own_ = *page_;
  ::munmap(page_, sizeof(FlightPage));
  page_ = own_.get();
  std::error_code error;
  fs::remove(file_, error);
  fs::remove(file_.parent_path(), error);  // fails while another rank's is there
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
  return flight;
}

void FlightRecord::leave(std::uint64_t flight) {
  const std::scoped_lock lock(mutex_);
  Entry& entry = page_->entries[flight % kMost];
  if (entry.flight == flight) entry.is_done = 1;
}

FlightLog FlightRecord::log() const {
  const std::scoped_lock lock(mutex_);
  return page_->log();
}

std::vector<FlightLog> read_flight_logs(const fs::path& folder) {
  std::map<std::int64_t, FlightLog> logs;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    std::ifstream file(entry.path(), std::ios::binary);
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
    if (last_number(other, pending->group) >= pending->number) {
      waiting.push_back(other.rank);
    } else if (is_member(other, pending->group) || pending->number == 1) {
      missing +=
          fmt::format("rank {} never entered it: {}\n", other.rank, last_seen(other, own.host));
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
