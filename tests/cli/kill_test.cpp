// The program itself, killed with SIGKILL at random moments and resumed, against a run that was
// left alone: same losses, same tensors, bit for bit. SWITCHYARD_KILLS sets the number of kills per
// run (default 3), SWITCHYARD_KILL_SEED repeats a printed choice of moments.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include <nlohmann/json.hpp>
#include "support/temporary_folder.h"
#include "switchyard/core/file.h"

namespace switchyard {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using Strings = std::vector<std::string>;

int number_from_environment(const char* name, int otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::atoi(text);
}

// A running `switchyard`; its messages go to a file.
class Program {
 public:
  Program(const Strings& arguments, const fs::path& messages) {
    std::vector<char*> argv;
    static std::string program = (fs::path(SWITCHYARD_BINARY_DIR) / "switchyard").string();
    argv.push_back(program.data());
    Strings copies = arguments;
    for (std::string& argument : copies) argv.push_back(argument.data());
    argv.push_back(nullptr);
    pid_ = ::fork();
    if (pid_ != 0) return;
    const int descriptor = ::open(messages.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
    ::dup2(descriptor, 1);
    ::dup2(descriptor, 2);
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }
  ~Program() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      (void)wait();
    }
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  void send(int signal) const { ::kill(pid_, signal); }

  // Exit code, or 128 + the signal.
  int wait() {
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

  // True when it ended by itself within the time.
  bool ends_within(std::chrono::milliseconds time) {
    const auto end = std::chrono::steady_clock::now() + time;
    while (std::chrono::steady_clock::now() < end) {
      siginfo_t info{};
      if (::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
          info.si_pid == pid_) {
        return true;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return false;
  }

 private:
  pid_t pid_ = -1;
};

class Killed : public ::testing::Test {
 protected:
  static constexpr int kSteps = 40;

  void SetUp() override {
    std::ofstream text(folder_ / "text.txt");
    for (int i = 0; i < 600; ++i) text << "line " << i * i % 97 << " of the book\n";
    text.close();
    ASSERT_EQ(run({"prepare", "--input", folder_ / "text.txt", "--tokenizer", "bytes", "--output",
                   folder_ / "data"}),
              0)
        << messages();
  }

  int run(const Strings& arguments) {
    Program program(arguments, folder_ / "messages.txt");
    return program.wait();
  }

  [[nodiscard]] std::string messages() const { return read_file(folder_ / "messages.txt"); }

  [[nodiscard]] Strings pretrain(const std::string& name, const Strings& more) const {
    Strings arguments{"pretrain",
                      std::string(SWITCHYARD_SOURCE_DIR) + "/configs/tiny.yaml",
                      "data.path=" + (folder_ / "data").string(),
                      "run.dir=" + (folder_ / name).string(),
                      "train.steps=" + std::to_string(kSteps),
                      "train.checkpoint_every=3",
                      "train.evaluate_every=10",
                      "train.sample_every=20",
                      "train.sample_prompt=line",
                      "train.sample_tokens=4",
                      "model.dropout=0.1"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }

  // Step -> loss as text, by the rule for readers: a resume voids later steps.
  [[nodiscard]] std::map<std::int64_t, std::string> losses(const std::string& name) const {
    std::map<std::int64_t, std::string> found;
    std::istringstream lines(read_file(folder_ / (name + "/metrics.jsonl")));
    for (std::string line; std::getline(lines, line);) {
      const nlohmann::json record = nlohmann::json::parse(line);
      const auto step = record["step"].get<std::int64_t>();
      if (record.value("event", "") == "resume") found.erase(found.upper_bound(step), found.end());
      if (!record.contains("event")) {
        found[step] = record["loss"].dump() + " " + record["grad_norm"].dump() + " " +
                      record["tokens"].dump();
      }
    }
    return found;
  }

  void expect_same_end(const std::string& a, const std::string& b,
                       bool with_router_state = false) const {
    EXPECT_EQ(losses(a), losses(b));
    EXPECT_EQ(losses(a).size(), static_cast<std::size_t>(kSteps));
    const bool has_state =
        fs::exists(folder_ / (a + "/checkpoints/step-000040/router_state.safetensors"));
    EXPECT_EQ(has_state, with_router_state);
    Strings names{"model.safetensors", "optimizer.safetensors"};
    if (has_state) names.emplace_back("router_state.safetensors");
    for (const std::string& name : names) {
      const std::string file = "/checkpoints/step-000040/" + name;
      EXPECT_EQ(read_file(folder_ / (a + file)), read_file(folder_ / (b + file))) << name;
    }
  }

  // True once the run has saved and gone on for a moment.
  [[nodiscard]] bool wait_for_a_checkpoint(Program& program) const {
    while (!fs::exists(folder_ / "killed/checkpoints/LATEST")) {
      if (program.ends_within(std::chrono::milliseconds(1))) return false;
    }
    return !program.ends_within(std::chrono::milliseconds(5));
  }

  [[nodiscard]] bool went_on_from_a_checkpoint() const {
    std::istringstream lines(read_file(folder_ / "killed/metrics.jsonl"));
    for (std::string line; std::getline(lines, line);) {
      const nlohmann::json record = nlohmann::json::parse(line);
      if (record.value("event", "") == "resume" && record["step"] > 0) return true;
    }
    return false;
  }

  void kill_again_and_again(const Strings& settings, bool with_router_state) {
    const auto seed =
        static_cast<unsigned>(number_from_environment("SWITCHYARD_KILL_SEED", ::getpid()));
    const int num_kills = number_from_environment("SWITCHYARD_KILLS", 3);
    std::cout << "SWITCHYARD_KILL_SEED=" << seed << "\n";
    std::mt19937 random(seed);
    const auto start = std::chrono::steady_clock::now();
    ASSERT_EQ(run(pretrain("whole", settings)), 0) << messages();
    const auto whole_ms = std::chrono::duration_cast<std::chrono::milliseconds>(
                              std::chrono::steady_clock::now() - start)
                              .count();
    Strings command = pretrain("killed", settings);
    int killed = 0;
    bool resumed = false;
    while (killed < num_kills) {
      Program program(command, folder_ / "messages.txt");
      // From before the first step to after the last; most of it while training.
      const auto wait_ms = std::uniform_int_distribution<long>(whole_ms / 8, whole_ms)(random);
      // The first one surely leaves something to resume from.
      const bool ended = killed == 0 ? !wait_for_a_checkpoint(program)
                                     : program.ends_within(std::chrono::milliseconds(wait_ms));
      if (!ended) program.send(SIGKILL);
      const int status = program.wait();
      if (status != 128 + SIGKILL) {
        ASSERT_EQ(status, 0) << messages();
        // Done before its kill came: from the beginning, as long as kills are left.
        expect_same_end("whole", "killed", with_router_state);
        resumed = resumed || went_on_from_a_checkpoint();
        fs::remove_all(folder_ / "killed");
        command = pretrain("killed", settings);
        continue;
      }
      ++killed;
      if (fs::exists(folder_ / "killed/config.resolved.yaml")) {
        command = {"resume", folder_ / "killed"};
      }
    }
    ASSERT_EQ(run(command), 0) << messages();
    expect_same_end("whole", "killed", with_router_state);
    EXPECT_TRUE(resumed || went_on_from_a_checkpoint());
    // Nothing is left of the writes that were cut off.
    for (const auto& entry : fs::recursive_directory_iterator(folder_ / "killed")) {
      EXPECT_THAT(entry.path().filename().string(), ::testing::Not(HasSubstr(".tmp")));
    }
  }

  testing::TemporaryFolder folder_;
};

TEST_F(Killed, InFp32AtRandomMomentsItEndsAsIfItHadNotBeen) {
  kill_again_and_again({"train.precision=fp32", "train.recompute=true"}, false);
}

TEST_F(Killed, InBf16WithARouterThatHasStateItEndsAsIfItHadNotBeen) {
  kill_again_and_again({"train.precision=bf16", "train.recompute=true",
                        "model.moe.router.type=attention_importance"},
                       true);
}

TEST_F(Killed, ASignalSavesTheStepAndTheResumedRunEndsAsIfThereHadBeenNone) {
  ASSERT_EQ(run(pretrain("whole", {})), 0) << messages();
  Strings command = pretrain("stopped", {});
  int stopped = 0;
  for (const int signal : {SIGTERM, SIGINT, SIGUSR1}) {
    Program program(command, folder_ / "messages.txt");
    // Once it is past its start.
    const fs::path metrics = folder_ / "stopped/metrics.jsonl";
    const std::uintmax_t before = fs::exists(metrics) ? fs::file_size(metrics) : 0;
    while (!program.ends_within(std::chrono::milliseconds(1)) &&
           (!fs::exists(metrics) || fs::file_size(metrics) <= before + 200)) {
    }
    program.send(signal);
    const int code = program.wait();
    ASSERT_TRUE(code == 75 || code == 0) << code << "\n" << messages();
    stopped += code == 75 ? 1 : 0;
    command = {"resume", folder_ / "stopped"};
  }
  EXPECT_GE(stopped, 1);
  ASSERT_EQ(run(command), 0) << messages();
  expect_same_end("whole", "stopped");
}

TEST_F(Killed, AResumeThatCannotBeIsRefusedBeforeAnythingIsLoaded) {
  EXPECT_EQ(run({"resume", folder_ / "nowhere"}), 2);
  EXPECT_THAT(messages(), HasSubstr("no such run"));
  ASSERT_EQ(run(pretrain("run", {})), 0);
  EXPECT_EQ(run({"resume", folder_ / "run", "model.hidden_size=64", "run.seed=4"}), 2);
  EXPECT_THAT(messages(), HasSubstr("model.hidden_size: the run was started with 32"));
  EXPECT_THAT(messages(), HasSubstr("run.seed: the run was started with 1"));
  EXPECT_EQ(run({"resume", folder_ / "run", "--allow-change", "run.sed"}), 2);
  EXPECT_THAT(messages(), HasSubstr("unknown key 'run.sed' (did you mean 'run.seed'?)"));
}

}  // namespace
}  // namespace switchyard
