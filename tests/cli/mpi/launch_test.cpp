// Ranks as processes of this machine: `switchyard launch`, and what becomes of a training when one
// of them, or the launcher, is told to stop or dies.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "cli/mpi/launched.h"

namespace switchyard {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::number_from_environment;

class Launched : public LaunchedRanks {
 protected:
  Launched() : LaunchedRanks(SWITCHYARD_BINARY_DIR, SWITCHYARD_SOURCE_DIR) {}
};

TEST_F(Launched, FourRanksTrainAsOneDoes) {
  ASSERT_EQ(run(launch("four", 4, {"parallel.expert=4"})), 0) << messages();
  EXPECT_THAT(messages(), HasSubstr("ranks: 4, the experts split over groups of 4"));
  ASSERT_EQ(run(pretrain("one", {"train.precision=fp32", "train.micro_batch_size=8"})), 0)
      << messages();
  const auto one = losses("one");
  const auto four = losses("four");
  ASSERT_EQ(four.size(), one.size()) << "each step is recorded once";
  for (const auto& [step, loss] : one) {
    EXPECT_NEAR(std::stod(four.at(step)), std::stod(loss), 1e-4 * std::stod(loss)) << step;
  }
  EXPECT_TRUE(
      fs::exists(folder_ / "four/checkpoints/step-000040/model-00004-of-00004.safetensors"));
  const std::string metrics = read_file(folder_ / "four/metrics.jsonl");
  EXPECT_THAT(metrics, HasSubstr(R"("rank":3,)")) << "who waits how long";
  EXPECT_THAT(read_file(folder_ / "four/report.html"), HasSubstr("Waiting for other ranks"));
  EXPECT_FALSE(fs::exists(folder_ / "four/.ranks")) << "all is well";
  EXPECT_TRUE(fs::exists(folder_ / "four/samples/step-000040.txt"));
  EXPECT_TRUE(fs::exists(folder_ / "four/report.html"));
  EXPECT_EQ(run({"evaluate", folder_ / "four", "--text", folder_ / "text.txt"}), 0) << messages();
}

TEST_F(Launched, SaysWhatIsWrongBeforeAnythingStarts) {
  EXPECT_EQ(run(launch("run", 2, {"parallel.expert=4"})), 2);  // which one rank could not know
  EXPECT_EQ(run({"launch", "--nproc", "2"}), 2);
  EXPECT_EQ(run({"launch", "--nproc", "2", "--", "compare"}), 2);
  EXPECT_EQ(run({"launch", "--nproc", "2", "--", "doctor"}), 2);
  EXPECT_EQ(run({"launch", "--nproc", "2", "--", "pretrain", "missing.yaml"}), 2);
  EXPECT_THAT(messages(), HasSubstr("2 ranks cannot be cut into groups of 4"));
  EXPECT_THAT(messages(), HasSubstr("the command is missing"));
  EXPECT_THAT(messages(), HasSubstr("'compare' is no work of several ranks"));
  EXPECT_THAT(messages(), HasSubstr("add --links"));
  EXPECT_THAT(messages(), Not(HasSubstr("mpirun")));
  EXPECT_FALSE(fs::exists(folder_ / "run"));
}

TEST_F(Launched, DoctorMeasuresTheLinksBetweenRanks) {
  ASSERT_EQ(run({"launch", "--nproc", "3", "--", "doctor", "--links"}), 0) << messages();
  EXPECT_THAT(messages(), HasSubstr("links           3 ranks: between two "));
}

TEST_F(Launched, AStopIsSavedByAllAndGoneOnFrom) {
  const Strings settings{"parallel.expert=2"};
  ASSERT_EQ(run(launch("whole", 2, settings)), 0) << messages();
  const Strings command = launch("killed", 2, settings);
  {
    Program program(program_, command, folder_ / "messages.txt");
    ASSERT_TRUE(wait_for_step(program, "killed", 3)) << messages();
    program.send(SIGTERM);
    ASSERT_EQ(program.wait(), 75) << messages();
  }
  EXPECT_THAT(messages(), HasSubstr("stopped by"));
  Strings again = command;
  again.emplace_back("--or-resume");
  {
    Program program(program_, again, folder_ / "messages.txt");
    ASSERT_TRUE(wait_for_step(program, "killed", losses("killed").size() + 2)) << messages();
    const auto ranks = ranks_of("killed");
    ASSERT_TRUE(ranks.contains(1)) << messages();
    ::kill(ranks.at(1), SIGUSR1);  // to one that does not own the folder
    ASSERT_EQ(program.wait(), 75) << messages();
  }
  ASSERT_EQ(run(again), 0) << messages();
  expect_same_end("whole", "killed");
}

TEST_F(Launched, ADeadRankEndsAllAndSaysSo) {
  Program program(program_, launch("run", 4, forever()), folder_ / "messages.txt");
  ASSERT_TRUE(wait_for_step(program, "run", 2)) << messages();
  const auto ranks = ranks_of("run");
  ASSERT_TRUE(ranks.contains(2)) << messages();
  ::kill(ranks.at(2), SIGKILL);
  ASSERT_TRUE(program.ends_within(seconds(10))) << messages();
  EXPECT_EQ(program.wait(), 77) << messages();
  EXPECT_THAT(messages(), HasSubstr("a rank was ended by signal 9"));
  EXPECT_TRUE(ranks_end_within("run", seconds(5)));
}

TEST_F(Launched, ARankThatHangsEndsAllAfterTheTimeout) {
  Strings settings = forever();
  settings.emplace_back("parallel.timeout=3");
  Program program(program_, launch("run", 2, settings), folder_ / "messages.txt");
  ASSERT_TRUE(wait_for_step(program, "run", 2)) << messages();
  const auto ranks = ranks_of("run");
  ASSERT_TRUE(ranks.contains(1)) << messages();
  ::kill(ranks.at(1), SIGSTOP);
  ASSERT_TRUE(program.ends_within(seconds(30))) << messages();
  EXPECT_EQ(program.wait(), 77) << messages();
  EXPECT_THAT(messages(), HasSubstr("is not complete after 3 s"));
  EXPECT_THAT(messages(), AnyOf(HasSubstr("rank 1 never entered it: "),
                                HasSubstr("rank 1 has entered it, but its process")))
      << "wherever it was stopped";
  EXPECT_THAT(messages(), HasSubstr("is stopped"));
  EXPECT_TRUE(ranks_end_within("run", seconds(10))) << "the one that hangs ends, too";
}

TEST_F(Launched, ADeadLauncherLeavesNoOrphans) {
  Program program(program_, launch("run", 2, forever()), folder_ / "messages.txt");
  ASSERT_TRUE(wait_for_step(program, "run", 2)) << messages();
  program.send(SIGKILL);
  EXPECT_EQ(program.wait(), 128 + SIGKILL);
  EXPECT_TRUE(ranks_end_within("run", seconds(10))) << ranks_of("run").size();
}

TEST_F(Launched, AnErrorOfOneRankEndsAllWithItsCode) {
  // Only the leader makes the folder of the run, and here it cannot.
  fs::create_directories(folder_ / "file");
  std::ofstream(folder_ / "file/run") << "no folder";
  EXPECT_EQ(run(launch("file/run/below", 2, {})), 74) << messages();
  EXPECT_THAT(messages(), HasSubstr("cannot make the folder"));
}

TEST_F(Launched, AStopWhileTheRanksStartSavesOrStartsNothing) {
  for (const int wait_ms : {1, 100, 300, 600}) {
    SCOPED_TRACE(wait_ms);
    Program program(program_, launch("run", 2, forever()), folder_ / "messages.txt");
    (void)program.ends_within(milliseconds(wait_ms));
    program.send(SIGTERM);
    ASSERT_TRUE(program.ends_within(seconds(30))) << messages();
    const int code = program.wait();
    EXPECT_TRUE(code == 75 || (wait_ms == 1 && code == 128 + SIGTERM)) << code << messages();
    fs::remove_all(folder_ / "run");
  }
}

TEST_F(Launched, TrainingOutlivesTheReaderOfItsMessages) {
  Strings command{"-c", "set -o pipefail; \"$@\" 2>&1 | head -n 1", "bash", program_};
  const Strings launched = launch("run", 2, {"train.log_every=1"});
  command.insert(command.end(), launched.begin(), launched.end());
  Program shell("/bin/bash", command, folder_ / "messages.txt");
  EXPECT_EQ(shell.wait(), 0) << messages() << read_file(folder_ / "run/log.txt");
  EXPECT_TRUE(fs::exists(folder_ / "run/checkpoints/step-000040"));
}

TEST_F(Launched, ASecondSignalEndsTheRanksAtOnce) {
  Program program(program_, launch("run", 2, forever()), folder_ / "messages.txt");
  ASSERT_TRUE(wait_for_step(program, "run", 2)) << messages();
  const auto ranks = ranks_of("run");
  ASSERT_TRUE(ranks.contains(1)) << messages();
  ::kill(ranks.at(1), SIGSTOP);  // so that the step is not done
  program.send(SIGTERM);
  program.send(SIGTERM);  // as GNU timeout does, to the program and to its group: one request
  EXPECT_FALSE(program.ends_within(milliseconds(1300))) << messages();
  program.send(SIGTERM);
  EXPECT_EQ(program.wait(), 128 + SIGTERM) << messages();
  EXPECT_TRUE(ranks_end_within("run", seconds(10)));
}

// Before they have gone back the newest step is the one that was to be left.
TEST_F(Launched, RestartsGoBackToTheStepThatWasNamedUntilTheRanksHave) {
  ASSERT_EQ(run(launch("run", 2, {})), 0) << messages();
  // An mpirun that notes what it is to start: ranks that die at once, then ones that have saved.
  const fs::path calls = folder_ / "calls";
  const fs::path saved = folder_ / "run/checkpoints/step-000900";
  fs::create_directories(folder_ / "bin");
  std::ofstream(folder_ / "bin/mpirun")
      << "#!/bin/sh\nprintf '%s\\n' \"$*\" >> " << calls.string() << "\nn=$(wc -l < "
      << calls.string() << ")\n[ $n -lt 3 ] || exit 0\n[ $n = 1 ] || { mkdir " << saved.string()
      << " && echo {} > " << (saved / "manifest.json").string() << "; }\nexit 77\n";
  fs::permissions(folder_ / "bin/mpirun", fs::perms::owner_all);
  const std::string path = std::getenv("PATH");
  ::setenv("PATH", ((folder_ / "bin").string() + ":" + path).c_str(), 1);
  const int code = run({"launch", "--nproc", "2", "--restarts", "2", "--", "resume",
                        (folder_ / "run").string(), "--from", "latest"});
  ::setenv("PATH", path.c_str(), 1);
  EXPECT_EQ(code, 0) << messages();
  EXPECT_THAT(messages(), AllOf(HasSubstr("starting them again as before"),
                                HasSubstr("starting them again from step 900")));
  std::istringstream lines(read_file(calls));
  std::vector<bool> goes_back;
  for (std::string line; std::getline(lines, line);) {
    goes_back.push_back(line.find("--from latest") != std::string::npos);
  }
  EXPECT_THAT(goes_back, ElementsAre(true, true, false));
}

// Ranks are killed, or stopped until the others miss them, or the launcher is told to end; after
// that somebody starts it again.
TEST_F(Launched, RestartsEndAsIfNothingHadDied) {
  const auto seed =
      static_cast<unsigned>(number_from_environment("SWITCHYARD_KILL_SEED", ::getpid()));
  const int num_faults = number_from_environment("SWITCHYARD_RANK_KILLS", 3);
  std::cout << "SWITCHYARD_KILL_SEED=" << seed << "\n";
  std::mt19937 random(seed);
  const Strings settings{"parallel.expert=2", "parallel.timeout=3", "parallel.start_timeout=5",
                         "train.async_save=true"};
  num_steps_ = std::max(kSteps, 20 * num_faults);
  ASSERT_EQ(run(launch("whole", 2, settings)), 0) << messages();
  const auto start = [&] {
    Strings command = launch("killed", 2, settings, {"--restarts", "1000"});
    command.emplace_back("--or-resume");
    return std::make_unique<Program>(program_, command, folder_ / "messages.txt");
  };
  std::unique_ptr<Program> program = start();
  ASSERT_TRUE(wait_for_step(*program, "killed", 2)) << messages();
  // Saved and ended; or a rank died when all were told to end, after which none is started again;
  // or told so twice, which ends them at once.
  const auto goes_on = [](int code) { return code == 75 || code == 77 || code == 128 + SIGTERM; };
  std::map<int, int> num_sent;
  // Woken in the end: one that was stopped when its work was done is missed by nobody.
  std::vector<pid_t> stopped;
  int code = 0;
  for (int sent = 0; sent < num_faults;) {
    const auto wait =
        milliseconds(std::uniform_int_distribution<int>(0, sent == 0 ? 1 : 3000)(random));
    if (program->ends_within(wait)) {
      code = program->wait();
      program = goes_on(code) ? start() : nullptr;
      if (!program) break;
      continue;
    }
    constexpr std::array kSignals = {SIGKILL, SIGSTOP, SIGTERM};
    const int signal = kSignals[std::uniform_int_distribution<std::size_t>(0, 2)(random)];
    const auto rank = std::uniform_int_distribution<std::int64_t>(0, 1)(random);
    const auto ranks = ranks_of("killed");
    if (!ranks.contains(rank)) continue;
    if (signal == SIGTERM) {
      program->send(signal);
    } else {
      ::kill(ranks.at(rank), signal);
      if (signal == SIGSTOP) stopped.push_back(ranks.at(rank));
    }
    std::cout << fmt::format("after {} ms: signal {} to {}\n", wait.count(), signal,
                             signal == SIGTERM ? "the launcher" : fmt::format("rank {}", rank));
    ++num_sent[signal];
    ++sent;
  }
  while (program) {
    while (!program->ends_within(seconds(30))) {
      for (const pid_t rank : stopped) ::kill(rank, SIGCONT);
    }
    code = program->wait();
    program = goes_on(code) ? start() : nullptr;
  }
  ASSERT_EQ(code, 0) << messages();
  std::cout << num_sent[SIGKILL] << " killed, " << num_sent[SIGSTOP] << " stopped, "
            << num_sent[SIGTERM] << " told to end\n";
  expect_same_end("whole", "killed");
}

}  // namespace
}  // namespace switchyard
