// Collectives that are noted, and what the notes say when a rank does not come.
#include "switchyard/comm/watched.h"

#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "support/temporary_folder.h"
#include "switchyard/comm/flight_record.h"
#include "switchyard/comm/self.h"
#include "switchyard/comm/threads.h"

namespace switchyard::comm {
namespace {

using std::chrono::milliseconds;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(FlightRecord, KeepsTheLastCollectivesInOrder) {
  FlightRecord record(2, 4);
  for (int i = 1; i <= 300; ++i) {
    const std::uint64_t flight = record.enter("all ranks", i, "barrier 'x'", 8 * i);
    if (i < 300) record.leave(flight);
  }
  const FlightLog log = record.log();
  EXPECT_EQ(log.rank, 2);
  EXPECT_EQ(log.num_ranks, 4);
  EXPECT_EQ(log.process, ::getpid());
  ASSERT_EQ(log.flights.size(), FlightRecord::kMost);
  EXPECT_EQ(log.flights.front().number, 300 - 255);
  EXPECT_EQ(log.flights.front().state, Flight::State::done);
  EXPECT_EQ(log.flights.back().number, 300);
  EXPECT_EQ(log.flights.back().bytes, 2400);
  EXPECT_EQ(log.flights.back().state, Flight::State::entered);
}

TEST(FlightRecord, OutlivesAKilledProcess) {
  const testing::TemporaryFolder folder;
  const pid_t child = ::fork();
  if (child == 0) {
    FlightRecord record(1, 2);
    record.leave(record.enter("all ranks", 1, "before it is kept", 0));
    record.keep_in(folder / "ranks");
    (void)record.enter("all ranks", 2, "all_reduce_sum 'x'", 64);
    ::kill(::getpid(), SIGKILL);
  }
  ::waitpid(child, nullptr, 0);
  const std::vector<FlightLog> logs = read_flight_logs(folder / "ranks");
  ASSERT_EQ(logs.size(), 1U);
  ASSERT_EQ(logs[0].flights.size(), 2U);
  EXPECT_EQ(logs[0].process, child);
  EXPECT_EQ(logs[0].flights[0].what, "before it is kept");
  EXPECT_EQ(logs[0].flights[1].what, "all_reduce_sum 'x'");

  FlightRecord own(0, 3);
  for (int i = 1; i <= 3; ++i) {
    const std::uint64_t flight = own.enter("all ranks", i, "all_gather 'y'", 0);
    if (i < 3) own.leave(flight);
  }
  const std::string report = who_is_missing(own.log(), logs, milliseconds_now() + 14'200);
  EXPECT_THAT(
      report,
      HasSubstr("all_gather 'y' (#3 of all ranks) has been under way for 14 s; in it: rank 0"));
  EXPECT_THAT(report,
              HasSubstr("rank 1 never entered it: it waits in all_reduce_sum 'x' (#2 of all "
                        "ranks); its process " +
                        std::to_string(child) + " is gone"));
  EXPECT_THAT(report, HasSubstr("no record of rank 2"));
}

// 256 collectives of a group of experts may have passed since the last of all ranks.
TEST(FlightRecord, KnowsWhereARankIsInEveryGroup) {
  FlightRecord own(0, 3);
  (void)own.enter("all ranks", 7, "all_reduce_sum 'losses'", 0);
  FlightRecord busy(1, 3);
  busy.leave(busy.enter("all ranks", 6, "all_gather 'x'", 0));
  for (int i = 1; i <= 300; ++i) busy.leave(busy.enter("experts 1", i, "all_to_all 'rows'", 0));
  FlightRecord new_one(2, 3);
  const std::string report =
      who_is_missing(own.log(), {busy.log(), new_one.log()}, milliseconds_now());
  EXPECT_THAT(report, HasSubstr("rank 1 never entered it: the last that it left is all_to_all "
                                "'rows' (#300 of experts 1)"));
  EXPECT_THAT(report, HasSubstr("rank 2 never entered it: it has entered none"));
  (void)busy.enter("experts 1", 301, "all_to_all 'rows'", 0);
  EXPECT_THAT(who_is_missing(busy.log(), {own.log()}, milliseconds_now()),
              Not(HasSubstr("rank 0 never")))
      << "of another group";
}

// Where the host runs ahead of its device.
TEST(FlightRecord, TellsOfTheOldestThatIsNotDone) {
  FlightRecord own(0, 2);
  (void)own.enter("all ranks", 1, "first", 0);
  (void)own.enter("all ranks", 2, "second", 0);
  EXPECT_THAT(who_is_missing(own.log(), {}, milliseconds_now()), HasSubstr("first (#1 of"));
}

TEST(FlightRecord, TellsWhoDiedInside) {
  const testing::TemporaryFolder folder;
  const pid_t child = ::fork();
  if (child == 0) {
    FlightRecord record(1, 2);
    record.keep_in(folder / "ranks");
    (void)record.enter("all ranks", 1, "all_reduce_sum 'x'", 64);
    ::kill(::getpid(), SIGKILL);
  }
  ::waitpid(child, nullptr, 0);
  FlightRecord own(0, 2);
  (void)own.enter("all ranks", 1, "all_reduce_sum 'x'", 64);
  const std::string report =
      who_is_missing(own.log(), read_flight_logs(folder / "ranks"), milliseconds_now());
  EXPECT_THAT(report, AllOf(HasSubstr("in it: ranks 0, 1"),
                            HasSubstr("rank 1 has entered it, but its process " +
                                      std::to_string(child) + " is gone")));
}

TEST(FlightRecord, IsForgottenWithItsFolder) {
  const testing::TemporaryFolder folder;
  FlightRecord first(0, 2);
  FlightRecord second(1, 2);
  first.keep_in(folder / "ranks");
  second.keep_in(folder / "ranks");
  first.forget();
  EXPECT_EQ(read_flight_logs(folder / "ranks").size(), 1U);
  second.forget();
  EXPECT_FALSE(std::filesystem::exists(folder / "ranks"));
  (void)first.enter("all ranks", 1, "still noted", 0);
  EXPECT_EQ(first.log().flights.size(), 1U);
}

TEST(FlightRecord, LeavesACopyOfTheFolderThatSharesItsFiles) {
  const testing::TemporaryFolder folder;
  std::filesystem::create_directory(folder / "ranks");
  std::ofstream(folder / "ranks/0") << "of the rank before";
  std::filesystem::create_hard_link(folder / "ranks/0", folder / "copy");
  FlightRecord record(0, 2);
  record.keep_in(folder / "ranks");
  EXPECT_EQ(std::filesystem::file_size(folder / "copy"), 18U);
  EXPECT_EQ(read_flight_logs(folder / "ranks").size(), 1U);
}

TEST(FlightRecord, StaysInMemoryWhereItCannotBeKept) {
  FlightRecord record(0, 2);
  record.keep_in("/proc/nowhere");
  (void)record.enter("all ranks", 1, "noted", 0);
  EXPECT_EQ(record.log().flights.size(), 1U);
}

TEST(FlightRecord, ForeignFilesAreNoRecords) {
  const testing::TemporaryFolder folder;
  std::ofstream(folder / "short") << "text";
  std::ofstream(folder / "long") << std::string(1 << 20, '\xff');
  EXPECT_TRUE(read_flight_logs(folder.path()).empty());
  EXPECT_TRUE(read_flight_logs(folder / "missing").empty());
}

// Rank 2 leaves the others alone in a group of its own and theirs.
TEST(Watched, NamesWhoNeverEnteredWhat) {
  const testing::TemporaryFolder folder;
  std::mutex mutex;
  std::vector<std::string> reports;
  EXPECT_ANY_THROW(run_ranks(3, [&](Communicator& threads) {
    const std::unique_ptr<Communicator> ranks =
        watched(threads.split(0, "run"), {.on_hang =
                                              [&](const std::string& report) {
                                                const std::scoped_lock lock(mutex);
                                                reports.push_back(report);
                                              },
                                          .timeout = milliseconds(300)});
    const std::unique_ptr<Communicator> pair = ranks->split(threads.rank() == 1 ? 1 : 0, "pair");
    keep_record(*ranks, folder / "ranks");
    at::Tensor tensor = at::ones({2});
    ranks->all_reduce_sum(tensor, "losses");
    if (threads.rank() == 2) {
      for (int tries = 0; tries < 100; ++tries) {
        {
          const std::scoped_lock lock(mutex);
          if (reports.size() == 2) break;  // of the two that wait, each in another group
        }
        std::this_thread::sleep_for(milliseconds(50));
      }
      throw std::runtime_error("rank 2 is late");
    }
    if (threads.rank() == 0) pair->barrier("of two");
    ranks->barrier("of three");
  }));
  ASSERT_FALSE(reports.empty());
  std::string all;
  for (const std::string& report : reports) all += report;
  EXPECT_THAT(all, AllOf(HasSubstr("rank 2 never entered it: the last that it left is "
                                   "all_reduce_sum 'losses' (#3 of all ranks)"),
                         HasSubstr("lives"), Not(HasSubstr("no record of"))));
}

TEST(Watched, IsSilentAsLongAsCollectivesEnd) {
  std::atomic<int> num_reports = 0;
  run_ranks(2, [&](Communicator& threads) {
    const std::unique_ptr<Communicator> ranks = watched(
        threads.split(0, "run"),
        {.on_hang = [&](const std::string&) { ++num_reports; }, .timeout = milliseconds(100)});
    for (int i = 0; i < 10; ++i) {
      ranks->barrier("x");
      std::this_thread::sleep_for(milliseconds(30));  // not in a collective
    }
    EXPECT_EQ(report_of_hang(*ranks), "");
  });
  EXPECT_EQ(num_reports, 0);
}

TEST(Watched, AnErrorOfTheRanksIsToldAtOnce) {
  std::atomic<bool> is_broken = false;
  std::mutex mutex;
  std::string told;
  run_ranks(1, [&](Communicator& threads) {
    const std::unique_ptr<Communicator> ranks =
        watched(threads.split(0, "run"), {.on_hang =
                                              [&](const std::string& report) {
                                                const std::scoped_lock lock(mutex);
                                                told = report;
                                              },
                                          .timeout = milliseconds(200),
                                          .find_error =
                                              [&](const Communicator& asked) {
                                                EXPECT_EQ(asked.size(), 1);
                                                return is_broken ? "a peer is gone" : "";
                                              }});
    std::this_thread::sleep_for(milliseconds(200));
    is_broken = true;
    for (int tries = 0; tries < 100; ++tries) {
      std::this_thread::sleep_for(milliseconds(20));
      const std::scoped_lock lock(mutex);
      if (!told.empty()) break;
    }
  });
  EXPECT_THAT(told, HasSubstr("a peer is gone"));
}

TEST(Watched, ConnectingIsWatchedAsWell) {
  std::atomic<int> num_reports = 0;
  const std::unique_ptr<Communicator> ranks =
      watched(0, 1,
              [&] {
                for (int tries = 0; tries < 200 && num_reports == 0; ++tries) {
                  std::this_thread::sleep_for(milliseconds(20));
                }
                return make_self_communicator();
              },
              {.on_hang =
                   [&](const std::string& report) {
                     EXPECT_THAT(report, HasSubstr("connect (#1 of all ranks)"));
                     ++num_reports;
                   },
               .timeout = milliseconds(100)});
  EXPECT_EQ(num_reports, 1);
}

TEST(Watched, CountsCallsBytesAndTime) {
  run_ranks(2, [](Communicator& threads) {
    const std::unique_ptr<Communicator> ranks = watched(threads.split(0, "run"), {});
    const std::unique_ptr<Communicator> alone = ranks->split(threads.rank(), "alone");
    (void)take_traffic(*ranks);
    at::Tensor tensor = at::ones({8});
    if (threads.rank() == 1) std::this_thread::sleep_for(milliseconds(60));
    ranks->all_reduce_sum(tensor, "x");
    alone->all_reduce_sum(tensor, "x");
    const Traffic traffic = take_traffic(*ranks);
    EXPECT_EQ(traffic.calls, 2);
    EXPECT_EQ(traffic.bytes, 2 * 2 * 32);
    if (threads.rank() == 0) {
      EXPECT_GT(traffic.seconds, 0.05) << "it waited";
    }
    EXPECT_EQ(take_traffic(*ranks).calls, 0);
    EXPECT_EQ(take_traffic(threads).calls, 0) << "nobody notes these";

    RankRows first_rows;  // one of ten for each rank
    first_rows.add(0, 1);
    first_rows.add(1, 1);
    at::Tensor received = at::zeros({10, 3});
    ranks->all_to_all(at::ones({10, 3}), first_rows, received, first_rows, "rows");
    EXPECT_EQ(take_traffic(*ranks).bytes, 2 * 2 * 12) << "of the rows that travel alone";
  });
}

}  // namespace
}  // namespace switchyard::comm
