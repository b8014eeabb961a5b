#include "switchyard/comm/watched.h"

#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "switchyard/comm/flight_record.h"

namespace switchyard::comm {
namespace {

using std::chrono::steady_clock;

std::int64_t bytes_of(const at::Tensor& tensor) {
  return tensor.defined() ? static_cast<std::int64_t>(tensor.nbytes()) : 0;
}

Interference& interference() {
  static Interference none;
  return none;
}

// What all groups of a rank share.
class Watch {
 public:
  Watch(std::int64_t rank, std::int64_t num_ranks, const WatchOptions& options)
      : options_(options), rank_(rank), record_(rank, num_ranks) {
    if (!options_.on_hang) return;
    thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
    if (options_.device) {
      beside_ = std::jthread([this](const std::stop_token& stop) { run_beside(stop); });
    }
  }
  ~Watch() { stop(); }
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  // From here on nobody watches.
  void stop() {
    for (std::jthread* each : {&thread_, &beside_}) {  // the second watches the first to its end
      if (!each->joinable()) continue;
      {
        const std::scoped_lock lock(mutex_);
        each->request_stop();
      }
      changed_.notify_all();
      each->join();
    }
  }

  [[nodiscard]] std::int64_t rank() const { return rank_; }  // among all

  // Runs a collective of this rank.
  template <typename Collective>
  void pass(std::string_view group, std::int64_t number, const std::string& what,
            std::int64_t bytes, const Collective& collective) {
    const std::uint64_t flight = record_.enter(group, number, what, bytes);
    const steady_clock::time_point entered = steady_clock::now();
    std::shared_ptr<c10::Event> start = event_now();
    {
      const std::scoped_lock lock(mutex_);
      ++traffic_.calls;
      traffic_.bytes += bytes;
      under_way_.push_back({.flight = flight, .entered = entered, .start = std::move(start)});
    }
    collective();  // what it throws leaves it as one that was never done
    std::shared_ptr<c10::Event> end = event_now();
    {
      const std::scoped_lock lock(mutex_);
      UnderWay& own = under_way_.back();  // a rank enters one at a time
      own.end = std::move(end);
      own.has_returned = true;
      own.returned = steady_clock::now();
    }
    forget_done();
  }

  void keep_in(const std::filesystem::path& folder) {
    const std::scoped_lock lock(mutex_);
    folder_ = folder;
    record_.keep_in(folder);
  }
  // Those that find_error is asked about; nullptr: they go away.
  void set_ranks(const Communicator* ranks) {
    const std::scoped_lock lock(mutex_);
    ranks_ = ranks;
  }
  void set_timeout(std::chrono::seconds timeout) {
    const std::scoped_lock lock(mutex_);
    options_.timeout = timeout;
  }
  void forget() {
    const std::scoped_lock lock(mutex_);
    folder_.clear();
    record_.forget();
  }
  [[nodiscard]] std::string report() {
    std::filesystem::path folder;
    {
      const std::scoped_lock lock(mutex_);
      folder = folder_;
    }
    return who_is_missing(record_.log(), read_flight_logs(folder), milliseconds_now());
  }
  [[nodiscard]] Traffic take_traffic() {
    forget_done();
    const std::scoped_lock lock(mutex_);
    return std::exchange(traffic_, {});
  }

 private:
  struct UnderWay {
    std::uint64_t flight = 0;
    steady_clock::time_point entered = {};
    std::shared_ptr<c10::Event> start = {};  // on the device
    std::shared_ptr<c10::Event> end = {};
    bool has_returned = false;
    steady_clock::time_point returned = {};
    [[nodiscard]] bool is_done() const { return has_returned && (!end || end->query()); }
    // `before`: the end of the collective before it, with which it may have waited in one queue.
    [[nodiscard]] double seconds(const c10::Event* before) const {
      if (!end) return std::chrono::duration<double>(returned - entered).count();
      double milliseconds = start->elapsedTime(*end);
      if (before != nullptr) milliseconds = std::min(milliseconds, before->elapsedTime(*end));
      return std::max(0.0, milliseconds) * 1e-3;  // one of no elements may end before the last
    }
  };

  // The events' functions are called without the lock: while a collective hangs, they may wait for
  // it, and the watch would wait with them.

  // Behind what is queued; one that measures time, which torch's own do not.
  [[nodiscard]] std::shared_ptr<c10::Event> event_now() const {
    if (!options_.device) return nullptr;
    auto event =
        std::make_shared<c10::Event>(options_.device->type(), c10::EventFlag::BACKEND_DEFAULT);
    event->record(c10::impl::VirtualGuardImpl(options_.device->type()).getStream(*options_.device));
    return event;
  }

  // On a thread that computes. Collectives of a rank end in the order in which they began.
  void forget_done() {
    const std::scoped_lock alone(forgetting_);
    while (true) {
      UnderWay oldest;
      {
        const std::scoped_lock lock(mutex_);
        if (under_way_.empty()) return;
        oldest = under_way_.front();
      }
      if (!oldest.is_done()) return;
      const double seconds = oldest.seconds(last_end_.get());
      last_end_ = oldest.end;
      record_.leave(oldest.flight);
      const std::scoped_lock lock(mutex_);
      traffic_.seconds += seconds;
      under_way_.pop_front();
    }
  }

  // What is to be told of; empty: all is well. What is done leaves the record here too: a thread
  // that computes may be waiting for what hangs, and would not come to it.
  [[nodiscard]] std::string trouble() {
    const steady_clock::time_point now = steady_clock::now();
    std::deque<UnderWay> under_way;
    {
      const std::scoped_lock lock(mutex_);
      if (options_.find_error && ranks_ != nullptr) {
        const std::string error = options_.find_error(*ranks_);
        if (!error.empty()) return error + "\n";
      }
      under_way = under_way_;
    }
    for (const UnderWay& each : under_way) {
      bool is_done = false;
      ask_device([&] { is_done = each.is_done(); });
      if (is_done) {
        record_.leave(each.flight);
        continue;
      }
      return now - each.entered >= timeout() ? not_complete() : std::string();
    }
    ask_device([&] { under_way.clear(); });
    return {};
  }

  // What may never return: the thread beside looks how long it takes.
  template <typename Question>
  void ask_device(const Question& question) {
    asks_since_ = steady_clock::now();
    question();
    asks_since_ = kDoesNotAsk;
  }

  [[nodiscard]] std::chrono::milliseconds timeout() {
    const std::scoped_lock lock(mutex_);
    return options_.timeout;
  }
  [[nodiscard]] std::string not_complete() {
    return fmt::format("a collective is not complete after {} s\n",
                       std::chrono::duration<double>(timeout()).count());
  }

  void tell(std::string found) {
    if (has_told_.exchange(true)) return;
    try {
      found += report();
    } catch (const std::exception& error) {
      found += error.what();
    }
    options_.on_hang(found);
  }

  // Waits for the time between two looks; false: it is over.
  [[nodiscard]] bool wait(const std::stop_token& stop) {
    constexpr std::chrono::milliseconds kMostBetweenLooks{500};
    std::unique_lock lock(mutex_);
    return !changed_.wait_for(lock, std::min(options_.timeout / 4, kMostBetweenLooks),
                              [&stop] { return stop.stop_requested(); });
  }

  // An error of the device is the other threads' to meet and tell; this one then ends.
  void run(const std::stop_token& stop) {
    try {
      if (options_.device) {
        c10::impl::VirtualGuardImpl(options_.device->type()).setDevice(*options_.device);
      }
      while (wait(stop)) {
        std::string found = trouble();
        if (found.empty()) continue;
        tell(std::move(found));
        return;
      }
    } catch (const std::exception&) {
      asks_since_ = kDoesNotAsk;
    }
  }

  // Watches the watch, where it asks a device, which may make it wait for what hangs: for ever.
  void run_beside(const std::stop_token& stop) try {
    constexpr std::chrono::seconds kOfABusyMachine{2};
    while (wait(stop)) {
      if (steady_clock::now() - asks_since_.load() < timeout() + kOfABusyMachine) continue;
      tell("the device does not answer when it is asked whether a collective is complete\n");
      return;
    }
  } catch (const std::exception&) {
  }

  WatchOptions options_;
  std::int64_t rank_;
  FlightRecord record_;
  std::mutex mutex_;
  std::condition_variable changed_;
  const Communicator* ranks_ = nullptr;
  std::deque<UnderWay> under_way_;
  std::mutex forgetting_;  // of threads that compute: the watch does not wait for it
  std::shared_ptr<c10::Event> last_end_;
  std::filesystem::path folder_;
  Traffic traffic_;
  static constexpr steady_clock::time_point kDoesNotAsk = steady_clock::time_point::max();
  std::atomic<steady_clock::time_point> asks_since_ = kDoesNotAsk;
  std::atomic<bool> has_told_ = false;
  std::jthread thread_;  // the threads come last: they use the others
  std::jthread beside_;
};

class Watched final : public Communicator {
 public:
  Watched(std::shared_ptr<Watch> watch, std::unique_ptr<Communicator> inner, std::string group)
      : watch_(std::move(watch)), inner_(std::move(inner)), group_(std::move(group)) {}
  ~Watched() override {
    if (group_ != kAllRanks) return;
    if (interference()) (void)interference()(watch_->rank(), "disconnect", "");
    watch_->set_ranks(nullptr);
  }

  [[nodiscard]] std::int64_t rank() const override { return inner_->rank(); }
  [[nodiscard]] std::int64_t size() const override { return inner_->size(); }

  void all_reduce_sum(at::Tensor& tensor, std::string_view name) override {
    pass("all_reduce_sum", name, 2 * bytes_of(tensor),
         [&] { inner_->all_reduce_sum(tensor, name); });
  }
  void reduce_scatter_sum(const at::Tensor& all, at::Tensor& own, std::string_view name) override {
    pass("reduce_scatter_sum", name, bytes_of(all) + bytes_of(own),
         [&] { inner_->reduce_scatter_sum(all, own, name); });
  }
  void all_gather(const at::Tensor& own, at::Tensor& all, std::string_view name) override {
    pass("all_gather", name, bytes_of(own) + bytes_of(all),
         [&] { inner_->all_gather(own, all, name); });
  }
  void all_to_all(const at::Tensor& send, const RankRows& send_rows, at::Tensor& receive,
                  const RankRows& receive_rows, std::string_view name) override {
    pass("all_to_all", name, bytes_of_rows(send, send_rows) + bytes_of_rows(receive, receive_rows),
         [&] { inner_->all_to_all(send, send_rows, receive, receive_rows, name); });
  }
  void broadcast(at::Tensor& tensor, std::int64_t root, std::string_view name) override {
    pass("broadcast", name, bytes_of(tensor), [&] { inner_->broadcast(tensor, root, name); });
  }
  void barrier(std::string_view name) override {
    pass("barrier", name, 0, [&] { inner_->barrier(name); });
  }
  [[nodiscard]] std::unique_ptr<Communicator> split(std::int64_t group,
                                                    std::string_view name) override {
    std::unique_ptr<Communicator> part;
    pass("split", name, 0, [&] { part = inner_->split(group, name); });
    return std::make_unique<Watched>(watch_, std::move(part), fmt::format("{} {}", name, group));
  }

  [[nodiscard]] std::unique_ptr<Work> begin(std::function<void()> collectives) override {
    return inner_->begin(std::move(collectives));
  }
  [[nodiscard]] Communicator* beneath() override { return inner_.get(); }
  void abandon() override { inner_->abandon(); }
  void set_timeout(std::chrono::seconds timeout) override {
    watch_->set_timeout(timeout);
    inner_->set_timeout(timeout);
  }

  [[nodiscard]] Watch& watch() { return *watch_; }

 private:
  template <typename Collective>
  void pass(std::string_view operation, std::string_view name, std::int64_t bytes,
            const Collective& collective) {
    if (interference() && !interference()(watch_->rank(), operation, name)) return;
    watch_->pass(group_, ++number_, fmt::format("{} '{}'", operation, name), bytes, collective);
  }

  std::shared_ptr<Watch> watch_;
  std::unique_ptr<Communicator> inner_;
  std::string group_;
  std::int64_t number_ = 1;  // the first was to connect
};

Watch* watch_of(Communicator& ranks) {
  for (Communicator* each = &ranks; each != nullptr; each = each->beneath()) {
    if (auto* const found = dynamic_cast<Watched*>(each)) return &found->watch();
  }
  return nullptr;
}

}  // namespace

std::unique_ptr<Communicator> watched(std::int64_t rank, std::int64_t num_ranks,
                                      const std::function<std::unique_ptr<Communicator>()>& connect,
                                      const WatchOptions& options) {
  const auto watch = std::make_shared<Watch>(rank, num_ranks, options);
  std::unique_ptr<Communicator> ranks;
  watch->pass(kAllRanks, 1, "connect", 0, [&] {
    if (interference()) (void)interference()(rank, "connect", "");
    ranks = connect();
  });
  if (options.only_connecting) watch->stop();
  watch->set_ranks(ranks.get());
  return std::make_unique<Watched>(watch, std::move(ranks), kAllRanks);
}

std::unique_ptr<Communicator> watched(std::unique_ptr<Communicator> ranks,
                                      const WatchOptions& options) {
  const std::int64_t rank = ranks->rank();
  const std::int64_t num_ranks = ranks->size();
  return watched(
      rank, num_ranks, [&ranks] { return std::move(ranks); }, options);
}

void interfere(Interference what) {
  interference() = std::move(what);
}

void keep_record(Communicator& ranks, const std::filesystem::path& folder) {
  if (Watch* const watch = watch_of(ranks)) watch->keep_in(folder);
}

void forget_record(Communicator& ranks) {
  if (Watch* const watch = watch_of(ranks)) watch->forget();
}

std::string report_of_hang(Communicator& ranks) {
  Watch* const watch = watch_of(ranks);
  return watch == nullptr ? "" : watch->report();
}

Traffic take_traffic(Communicator& ranks) {
  Watch* const watch = watch_of(ranks);
  return watch == nullptr ? Traffic{} : watch->take_traffic();
}

}  // namespace switchyard::comm
