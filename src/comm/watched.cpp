#include "switchyard/comm/watched.h"

#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "switchyard/comm/flight_record.h"

namespace switchyard::comm {
namespace {

using std::chrono::steady_clock;

std::int64_t bytes_of(const at::Tensor& tensor) {
  return tensor.defined() ? static_cast<std::int64_t>(tensor.nbytes()) : 0;
}

// What all groups of a rank share.
class Watch {
 public:
  Watch(std::int64_t rank, std::int64_t num_ranks, const WatchOptions& options)
      : options_(options), record_(rank, num_ranks) {
    if (options_.on_hang)
      thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
  }
  ~Watch() {
    if (!thread_.joinable()) return;
    thread_.request_stop();
    changed_.notify_all();
    thread_.join();
  }
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  // Runs `collective`, which is about `tensor`.
  template <typename Collective>
  void pass(const std::string& group, std::int64_t number, const std::string& what,
            const at::Tensor& tensor, std::int64_t bytes, const Collective& collective) {
    const std::uint64_t flight = record_.enter(group, number, what, bytes);
    const steady_clock::time_point start = steady_clock::now();
    {
      const std::scoped_lock lock(mutex_);
      ++traffic_.calls;
      traffic_.bytes += bytes;
      under_way_.push_back({.flight = flight, .start = start, .end = {}});
    }
    changed_.notify_all();
    collective();  // what it throws leaves it as one that was never done
    std::optional<c10::Event> end;
    if (tensor.defined() && tensor.device().is_cuda()) {
      end.emplace(c10::kCUDA);
      end->record(c10::impl::VirtualGuardImpl(c10::kCUDA).getStream(tensor.device()));
    }
    const std::scoped_lock lock(mutex_);
    traffic_.seconds += std::chrono::duration<double>(steady_clock::now() - start).count();
    for (UnderWay& each : under_way_) {
      if (each.flight == flight) each.end = std::move(end);
      if (each.flight == flight) each.has_returned = true;
    }
    forget_done();
  }

  void keep_in(const std::filesystem::path& folder) {
    const std::scoped_lock lock(mutex_);
    folder_ = folder;
    record_.keep_in(folder);
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
    const std::scoped_lock lock(mutex_);
    return std::exchange(traffic_, {});
  }

 private:
  struct UnderWay {
    std::uint64_t flight = 0;
    steady_clock::time_point start;
    std::optional<c10::Event> end;  // on the device
    bool has_returned = false;
    [[nodiscard]] bool is_done() const { return has_returned && (!end || end->query()); }
  };

  // With the lock held. Collectives of a rank end in the order in which they began.
  void forget_done() {
    while (!under_way_.empty() && under_way_.front().is_done()) {
      record_.leave(under_way_.front().flight);
      under_way_.pop_front();
    }
  }

  void run(const std::stop_token& stop) {
    constexpr std::chrono::milliseconds kMostBetweenLooks{500};
    std::unique_lock lock(mutex_);
    while (!stop.stop_requested()) {
      changed_.wait_for(lock, std::min(options_.timeout / 4, kMostBetweenLooks));
      forget_done();
      if (under_way_.empty() || steady_clock::now() - under_way_.front().start < options_.timeout) {
        continue;
      }
      lock.unlock();
      options_.on_hang(report());
      return;
    }
  }

  WatchOptions options_;
  FlightRecord record_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<UnderWay> under_way_;
  std::filesystem::path folder_;
  Traffic traffic_;
  std::jthread thread_;  // last: it uses the others
};

class Watched final : public Communicator {
 public:
  Watched(std::shared_ptr<Watch> watch, std::unique_ptr<Communicator> inner, std::string group)
      : watch_(std::move(watch)), inner_(std::move(inner)), group_(std::move(group)) {}

  [[nodiscard]] std::int64_t rank() const override { return inner_->rank(); }
  [[nodiscard]] std::int64_t size() const override { return inner_->size(); }

  void all_reduce_sum(at::Tensor& tensor, std::string_view name) override {
    pass("all_reduce_sum", name, tensor, 2 * bytes_of(tensor),
         [&] { inner_->all_reduce_sum(tensor, name); });
  }
  void reduce_scatter_sum(const at::Tensor& all, at::Tensor& own, std::string_view name) override {
    pass("reduce_scatter_sum", name, own, bytes_of(all) + bytes_of(own),
         [&] { inner_->reduce_scatter_sum(all, own, name); });
  }
  void all_gather(const at::Tensor& own, at::Tensor& all, std::string_view name) override {
    pass("all_gather", name, all, bytes_of(own) + bytes_of(all),
         [&] { inner_->all_gather(own, all, name); });
  }
  void all_to_all(const at::Tensor& send, std::span<const std::int64_t> send_rows,
                  at::Tensor& receive, std::span<const std::int64_t> receive_rows,
                  std::string_view name) override {
    pass("all_to_all", name, receive, bytes_of(send) + bytes_of(receive),
         [&] { inner_->all_to_all(send, send_rows, receive, receive_rows, name); });
  }
  void broadcast(at::Tensor& tensor, std::int64_t root, std::string_view name) override {
    pass("broadcast", name, tensor, bytes_of(tensor),
         [&] { inner_->broadcast(tensor, root, name); });
  }
  void barrier(std::string_view name) override {
    pass("barrier", name, {}, 0, [&] { inner_->barrier(name); });
  }
  [[nodiscard]] std::unique_ptr<Communicator> split(std::int64_t group,
                                                    std::string_view name) override {
    std::unique_ptr<Communicator> part;
    pass("split", name, {}, 0, [&] { part = inner_->split(group, name); });
    return std::make_unique<Watched>(watch_, std::move(part), fmt::format("{} {}", name, group));
  }

  [[nodiscard]] Watch& watch() { return *watch_; }

 private:
  template <typename Collective>
  void pass(std::string_view operation, std::string_view name, const at::Tensor& tensor,
            std::int64_t bytes, const Collective& collective) {
    watch_->pass(group_, ++number_, fmt::format("{} '{}'", operation, name), tensor, bytes,
                 collective);
  }

  std::shared_ptr<Watch> watch_;
  std::unique_ptr<Communicator> inner_;
  std::string group_;
  std::int64_t number_ = 0;
};

Watch* watch_of(Communicator& ranks) {
  auto* const found = dynamic_cast<Watched*>(&ranks);
  return found == nullptr ? nullptr : &found->watch();
}

}  // namespace

std::unique_ptr<Communicator> watched(std::unique_ptr<Communicator> ranks,
                                      const WatchOptions& options) {
  auto watch = std::make_shared<Watch>(ranks->rank(), ranks->size(), options);
  return std::make_unique<Watched>(std::move(watch), std::move(ranks), "all ranks");
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
