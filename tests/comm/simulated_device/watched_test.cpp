// Watching collectives that are under way on a device after their calls have returned.
#include "switchyard/comm/watched.h"

#include <ATen/ops/ones.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <string>
#include <string_view>
#include <thread>

#include "support/simulated_device/simulated_device.h"
#include "switchyard/comm/forwarding.h"
#include "switchyard/comm/self.h"

namespace switchyard::comm {
namespace {

using std::chrono::steady_clock;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class WatchedOnDevice : public ::testing::Test {
 protected:
  ~WatchedOnDevice() override {
    simulated_device::hold_events(steady_clock::time_point::max());
    simulated_device::block_events(false);
    simulated_device::set_event_time(steady_clock::time_point::min());
  }

  [[nodiscard]] std::unique_ptr<Communicator> ranks(std::chrono::milliseconds timeout) {
    return watched(make_self_communicator(), {.on_hang =
                                                  [this](const std::string& report) {
                                                    if (num_told_++ == 0) told_.set_value(report);
                                                  },
                                              .timeout = timeout,
                                              .device = c10::Device(c10::kCUDA, 0)});
  }
  static void pass(Communicator& ranks, const std::string& name) {
    at::Tensor tensor = at::ones({2});
    ranks.all_reduce_sum(tensor, name);
  }
  std::string report() {
    std::future<std::string> told = told_.get_future();
    if (told.wait_for(std::chrono::seconds(30)) != std::future_status::ready) return "nothing";
    return told.get();
  }

  std::promise<std::string> told_;
  std::atomic<int> num_told_ = 0;
};

TEST_F(WatchedOnDevice, TheOneThatHangsIsNamedNotOneThatEndedWhileNobodyLooked) {
  simulated_device::hold_events(steady_clock::now());
  const std::unique_ptr<Communicator> watch = ranks(std::chrono::milliseconds(1500));
  pass(*watch, "first");
  std::this_thread::sleep_for(std::chrono::milliseconds(1));
  const steady_clock::time_point between = steady_clock::now();
  pass(*watch, "second");
  simulated_device::hold_events(between);  // the first is done; this rank passes nothing more
  EXPECT_THAT(report(), AllOf(HasSubstr("not complete after 1.5 s"), HasSubstr("'second'"),
                              Not(HasSubstr("'first'"))));
}

TEST_F(WatchedOnDevice, ADeviceThatDoesNotAnswerCannotSilenceTheWatch) {
  const std::unique_ptr<Communicator> watch = ranks(std::chrono::milliseconds(100));
  pass(*watch, "first");
  simulated_device::hold_events(steady_clock::now());
  pass(*watch, "second");
  simulated_device::block_events(true);
  std::thread computing([&] { pass(*watch, "third"); });
  EXPECT_THAT(report(), HasSubstr("'second'"));
  simulated_device::block_events(false);
  computing.join();
  std::this_thread::sleep_for(std::chrono::milliseconds(200));  // looks of the other thread
  EXPECT_EQ(num_told_, 1);
}

// It is asked, as something is under way, and lets the watch wait for some of its looks.
TEST_F(WatchedOnDevice, ADeviceThatAnswersLateIsNoTrouble) {
  simulated_device::hold_events(steady_clock::now());
  const std::unique_ptr<Communicator> watch = ranks(std::chrono::seconds(20));
  pass(*watch, "first");
  simulated_device::block_events(true);
  std::this_thread::sleep_for(std::chrono::milliseconds(1800));
  simulated_device::hold_events(steady_clock::time_point::max());
  simulated_device::block_events(false);
  std::this_thread::sleep_for(std::chrono::milliseconds(700));
  EXPECT_EQ(num_told_, 0);
}

// The last look of the thread that asks the device may never end.
TEST_F(WatchedOnDevice, GoingAwayIsWatchedToo) {
  std::unique_ptr<Communicator> watch = ranks(std::chrono::milliseconds(100));
  simulated_device::hold_events(steady_clock::now());
  pass(*watch, "first");
  simulated_device::block_events(true);
  std::this_thread::sleep_for(std::chrono::milliseconds(60));  // a look has begun
  std::thread going([&] { watch.reset(); });
  EXPECT_THAT(report(), HasSubstr("does not answer"));
  simulated_device::block_events(false);
  going.join();
}

// Each takes 100 ms of a device, one after the other; the host passes them at once.
class OneAfterTheOther final : public Forwarding {
 public:
  explicit OneAfterTheOther(steady_clock::time_point begin)
      : Forwarding(make_self_communicator()), end_(begin) {}
  void all_reduce_sum(at::Tensor& tensor, std::string_view name) override {
    Forwarding::all_reduce_sum(tensor, name);
    end_ += std::chrono::milliseconds(100);
    simulated_device::set_event_time(end_);
  }

 private:
  steady_clock::time_point end_;
};

TEST_F(WatchedOnDevice, TimeInAQueueBehindOthersIsNotCountedAgain) {
  const steady_clock::time_point begin = steady_clock::now();
  const std::unique_ptr<Communicator> watch =
      watched(std::make_unique<OneAfterTheOther>(begin), {.device = c10::Device(c10::kCUDA, 0)});
  for (int i = 0; i < 3; ++i) {
    simulated_device::set_event_time(begin);
    pass(*watch, "sum");
  }
  const Traffic traffic = take_traffic(*watch);
  EXPECT_EQ(traffic.calls, 4) << "connecting is one";
  EXPECT_NEAR(traffic.seconds, 0.3, 0.05);  // not 0.1 + 0.2 + 0.3
}

}  // namespace
}  // namespace switchyard::comm
