#include "switchyard/comm/beside.h"

#include <ATen/Parallel.h>
#include <dlfcn.h>

#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <stop_token>
#include <thread>
#include <utility>

#include "switchyard/core/error.h"

namespace switchyard::comm {
namespace {

// Sums of large tensors would otherwise be computed by a team of OpenMP's threads of its own,
// beside those that train, on the same cores. at::set_num_threads would be for all threads.
void compute_alone() {
  (void)at::get_num_threads();  // which LibTorch sets up for each thread when it is asked
  using Set = void (*)(int);
  const auto set = reinterpret_cast<Set>(::dlsym(RTLD_DEFAULT, "omp_set_num_threads"));
  if (set != nullptr) set(1);
}

// One for all groups of a rank.
class Queue {
 public:
  struct Entry {
    std::function<void()> collectives;
    bool is_done = false;
    std::exception_ptr error;
  };

  Queue() : thread_([this](const std::stop_token& stop) { run(stop); }) {}

  std::shared_ptr<Entry> add(std::function<void()> collectives) {
    auto entry = std::make_shared<Entry>();
    entry->collectives = std::move(collectives);
    {
      const std::scoped_lock lock(mutex_);
      entries_.push_back(entry);
    }
    changed_.notify_all();
    return entry;
  }

  void wait(Entry& entry) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return entry.is_done; });
    if (const std::exception_ptr error = std::exchange(entry.error, nullptr)) {
      std::rethrow_exception(error);
    }
  }

  // For everything that was added, unless this is the thread that does it.
  void wait_for_all() {
    if (std::this_thread::get_id() == thread_.get_id()) return;
    if (const std::exception_ptr failure = wait_until_idle()) std::rethrow_exception(failure);
  }
  // Returns the first error; entries after it are not run.
  std::exception_ptr wait_until_idle() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return entries_.empty(); });
    return failure_;
  }

 private:
  void run(const std::stop_token& stop) {
    compute_alone();
    std::unique_lock lock(mutex_);
    while (changed_.wait(lock, stop, [&] { return !entries_.empty(); })) {
      const std::shared_ptr<Entry> entry = entries_.front();
      // After one that failed the ranks no longer agree about what comes next.
      std::exception_ptr error = failure_;
      if (!error) {
        lock.unlock();
        try {
          entry->collectives();
        } catch (...) {
          error = std::current_exception();
        }
        lock.lock();
      }
      if (!failure_) failure_ = error;
      entry->error = error;
      entry->is_done = true;
      entries_.pop_front();
      changed_.notify_all();
    }
  }

  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<std::shared_ptr<Entry>> entries_;  // the first is under way
  std::exception_ptr failure_;
  std::jthread thread_;  // last: it uses the others
};

class QueuedWork final : public Work {
 public:
  QueuedWork(std::shared_ptr<Queue> queue, std::shared_ptr<Queue::Entry> entry)
      : queue_(std::move(queue)),
        entry_(std::move(entry)),
        num_exceptions_(std::uncaught_exceptions()) {}
  ~QueuedWork() override {
    if (is_waited_for_ || std::uncaught_exceptions() > num_exceptions_) return;
    try {
      queue_->wait(*entry_);
    } catch (const std::exception&) {  // whoever enters the next collective meets it
    }
  }
  void wait() override {
    SWITCHYARD_CHECK(!std::exchange(is_waited_for_, true), "waited twice");
    queue_->wait(*entry_);
  }

 private:
  std::shared_ptr<Queue> queue_;
  std::shared_ptr<Queue::Entry> entry_;
  int num_exceptions_;
  bool is_waited_for_ = false;
};

class Beside final : public Communicator {
 public:
  Beside(std::shared_ptr<Queue> queue, Communicator& ranks)
      : queue_(std::move(queue)), ranks_(ranks) {}
  Beside(std::shared_ptr<Queue> queue, std::unique_ptr<Communicator> group)
      : queue_(std::move(queue)), own_(std::move(group)), ranks_(*own_) {}
  // What was begun may use it, and what it works on.
  ~Beside() override {
    if (std::uncaught_exceptions() > 0) ranks_.abandon();
    (void)queue_->wait_until_idle();
  }

  [[nodiscard]] std::int64_t rank() const override { return ranks_.rank(); }
  [[nodiscard]] std::int64_t size() const override { return ranks_.size(); }
  [[nodiscard]] Communicator* beneath() override { return &ranks_; }
  void abandon() override {
    ranks_.abandon();
    (void)queue_->wait_until_idle();
  }

  void all_reduce_sum(at::Tensor& tensor, std::string_view name) override {
    queue_->wait_for_all();
    ranks_.all_reduce_sum(tensor, name);
  }
  void reduce_scatter_sum(const at::Tensor& all, at::Tensor& own, std::string_view name) override {
    queue_->wait_for_all();
    ranks_.reduce_scatter_sum(all, own, name);
  }
  void all_gather(const at::Tensor& own, at::Tensor& all, std::string_view name) override {
    queue_->wait_for_all();
    ranks_.all_gather(own, all, name);
  }
  void all_to_all(const at::Tensor& send, const RankRows& send_rows, at::Tensor& receive,
                  const RankRows& receive_rows, std::string_view name) override {
    queue_->wait_for_all();
    ranks_.all_to_all(send, send_rows, receive, receive_rows, name);
  }
  void broadcast(at::Tensor& tensor, std::int64_t root, std::string_view name) override {
    queue_->wait_for_all();
    ranks_.broadcast(tensor, root, name);
  }
  void barrier(std::string_view name) override {
    queue_->wait_for_all();
    ranks_.barrier(name);
  }
  [[nodiscard]] std::unique_ptr<Communicator> split(std::int64_t group,
                                                    std::string_view name) override {
    queue_->wait_for_all();
    return std::make_unique<Beside>(queue_, ranks_.split(group, name));
  }
  void set_timeout(std::chrono::seconds timeout) override {
    queue_->wait_for_all();
    ranks_.set_timeout(timeout);
  }
  [[nodiscard]] std::unique_ptr<Work> begin(std::function<void()> collectives) override {
    return std::make_unique<QueuedWork>(queue_, queue_->add(std::move(collectives)));
  }

 private:
  std::shared_ptr<Queue> queue_;
  std::unique_ptr<Communicator> own_;
  Communicator& ranks_;
};

}  // namespace

std::unique_ptr<Communicator> beside(Communicator& ranks) {
  return std::make_unique<Beside>(std::make_shared<Queue>(), ranks);
}

}  // namespace switchyard::comm
