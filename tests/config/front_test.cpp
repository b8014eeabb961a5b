// The program `switchyard` as a user meets it: output, exit codes, handing over to the engine.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "support/command.h"
#include "support/temporary_folder.h"
#include "switchyard/config/load.h"
#include "switchyard/core/file.h"
#include "switchyard/core/host.h"

namespace switchyard {
namespace {

using testing::Answer;
using ::testing::HasSubstr;
using ::testing::StartsWith;

namespace fs = std::filesystem;

const std::string kConfigs = std::string(SWITCHYARD_SOURCE_DIR) + "/configs/";

class Front : public ::testing::Test {
 protected:
  // A copy, so that a test decides whether there is an engine beside it.
  void SetUp() override {
    fs::copy_file(fs::path(SWITCHYARD_BINARY_DIR) / "switchyard", folder_ / "switchyard");
  }

  void add_engine(const std::string& script) {
    write_file_atomically(folder_ / "switchyard-engine", "#!/bin/sh\n" + script);
    fs::permissions(folder_ / "switchyard-engine", fs::perms::owner_all);
  }

  Answer run(const std::string& arguments) {
    return testing::run_in(folder_.path(), "./switchyard " + arguments);
  }

  void add_data(const std::string& name) {
    fs::create_directories(folder_ / name);
    write_file_atomically(folder_ / name / "data.json", "");
  }

  switchyard::testing::TemporaryFolder folder_;
};

TEST_F(Front, HelpAndVersionGoToStandardOutput) {
  EXPECT_THAT(run("--help").output, HasSubstr("pretrain"));
  EXPECT_THAT(run("--version").output, StartsWith("switchyard "));
  const Answer help = run("generate --help");
  EXPECT_EQ(help.code, 0);
  EXPECT_THAT(help.output, HasSubstr("--max-tokens N"));
  EXPECT_EQ(help.errors, "");
}

TEST_F(Front, NothingOrNonsenseIsAUsageError) {
  EXPECT_EQ(run("").code, 2);
  const Answer answer = run("pretain x");
  EXPECT_EQ(answer.code, 2);
  EXPECT_EQ(answer.output, "");
  EXPECT_EQ(answer.errors,
            "switchyard: error: unknown verb 'pretain' (did you mean 'pretrain'?)\n"
            "  hint: `switchyard --help` lists the verbs\n");
}

TEST_F(Front, ConfigShowPrintsAConfigThatLoads) {
  const Answer answer = run("config show " + kConfigs + "tiny.yaml train.steps=7");
  EXPECT_EQ(answer.code, 0) << answer.errors;
  EXPECT_EQ(config::load_text(answer.output, "shown.yaml", {}).config.train.steps, 7);
}

TEST_F(Front, ConfigCheckAnswersWithItsExitCode) {
  EXPECT_EQ(run("config check " + kConfigs + "tiny.yaml").code, 0);
  write_file_atomically(folder_ / "x.yaml", "run: {dri: x}\n");
  const Answer answer = run("config check x.yaml");
  EXPECT_EQ(answer.code, 2);
  EXPECT_THAT(answer.errors,
              StartsWith("switchyard: error: x.yaml:1:7: unknown key 'dri' (did you mean 'dir'?)\n"
                         "switchyard: error: x.yaml: run.dir: required, but not set"));
  EXPECT_THAT(answer.errors,
              ::testing::EndsWith("  hint: `switchyard config reference` lists every "
                                  "key\n"));
}

TEST_F(Front, EveryKindOfBrokenConfigExitsWithTwoItsPositionAndAHint) {
  const std::string head = "run: {dir: r}\ndata: {path: d}\ntrain: {steps: 1}\nmodel:\n";
  struct Case {
    std::string yaml;
    std::string message;
  };
  std::string bomb = "a: &a [x, x]\n";
  for (char c = 'b'; c <= 'j'; ++c) {
    const std::string last(1, static_cast<char>(c - 1));
    bomb += std::string(1, c) + ": &" + c + " [*" + last + ", *" + last + ", *" + last + "]\n";
  }
  const std::string router = head + "  moe:\n    router:\n";
  for (const auto& [yaml, message] : std::vector<Case>{
           {head + "  hiden_size: 8\n", "x.yaml:5:3: unknown key 'hiden_size' (did you mean"},
           {head + "  dropout: 0\n  dropout: 0\n", "x.yaml:6:3: duplicate key 'dropout'"},
           {head + "  num_layers: many\n", "x.yaml:5:15: model.num_layers: "},
           {head + "  dropout: .nan\n", "x.yaml:5:12: model.dropout: "},
           {head + "\tdropout: 0\n", "x.yaml:5:1: a tab in the indentation"},
           {head + "  dropout: " + std::string(1000, '[') + "\n", "nested deeper than 20 levels"},
           {bomb, "x.yaml:1:4: anchors and aliases"},
           {router + "      p: -0.5\n", "x.yaml:7:10: model.moe.router.p: must be in (0, 1]"},
           {router + "      p: 1.5\n", "x.yaml:7:10: model.moe.router.p: must be in (0, 1]"},
           {head + "  moe:\n    num_experts: -1\n", "x.yaml:6:18: model.moe.num_experts: "},
           {router + "      type: top_k\n      p: 0.5\n", "x.yaml:8:7: model.moe.router.p: "}}) {
    write_file_atomically(folder_ / "x.yaml", yaml);
    const Answer answer = run("config check x.yaml");
    EXPECT_EQ(answer.code, 2) << yaml;
    EXPECT_EQ(answer.output, "") << yaml;
    EXPECT_THAT(answer.errors, HasSubstr(message)) << yaml;
    EXPECT_THAT(answer.errors, HasSubstr("\n  hint: ")) << yaml;
  }
}

TEST_F(Front, ConfigReferencePrintsThePage) {
  EXPECT_EQ(run("config reference --markdown").output, config::reference_markdown());
  EXPECT_EQ(run("config reference").output, config::reference_text());
}

TEST_F(Front, PretrainChecksConfigAndFoldersBeforeTheEngine) {
  add_engine("echo started; exit 0\n");
  const Answer wrong = run("pretrain " + kConfigs + "tiny.yaml trian.steps=3");
  EXPECT_EQ(wrong.code, 2);
  EXPECT_EQ(wrong.output, "");
  EXPECT_THAT(wrong.errors, HasSubstr("command line: trian.steps: unknown key 'trian'"));

  const Answer missing = run("pretrain " + kConfigs + "tiny.yaml data.path=data");
  EXPECT_EQ(missing.code, 2);
  EXPECT_EQ(missing.errors,
            "switchyard: error: command line: data.path: no folder 'data'\n  hint: make one: "
            "switchyard prepare --input FILE --tokenizer bpe:4096 --output data\n");

  fs::create_directories(folder_ / "data");
  EXPECT_THAT(run("pretrain " + kConfigs + "tiny.yaml data.path=data").errors,
              HasSubstr("data.path: 'data' holds no prepared data set (no data.json)"));

  add_data("data");
  EXPECT_EQ(run("pretrain " + kConfigs + "tiny.yaml data.path=data").output, "started\n");

  fs::create_directories(folder_ / "taken");
  write_file_atomically(folder_ / "taken" / "config.resolved.yaml", "");
  const Answer taken = run("pretrain " + kConfigs + "tiny.yaml data.path=data run.dir=taken");
  EXPECT_EQ(taken.code, 2);
  EXPECT_EQ(taken.errors,
            "switchyard: error: command line: run.dir: 'taken' already holds a run\n  hint: choose "
            "another folder with run.dir=..., or go on with that run: switchyard resume taken\n");
}

TEST_F(Front, EngineGetsTheSameArgumentsAndDecidesTheExitCode) {
  add_engine("for a in \"$@\"; do echo \"<$a>\"; done; exit 65\n");
  add_data("data");
  const Answer answer =
      run("pretrain " + kConfigs + "tiny.yaml data.path=data 'train.sample_prompt=two words'");
  EXPECT_EQ(answer.code, 65);
  EXPECT_EQ(answer.output, "<pretrain>\n<" + kConfigs +
                               "tiny.yaml>\n<data.path=data>\n<train.sample_prompt=two words>\n");
}

TEST_F(Front, EngineKeepsTheProcessSoThatSignalsReachIt) {
  add_engine("echo $$\n");
  add_data("data");
  const Answer answer = run("pretrain " + kConfigs + "tiny.yaml data.path=data & echo $!; wait $!");
  const std::size_t line = answer.output.find('\n');
  ASSERT_NE(line, std::string::npos);
  EXPECT_EQ(answer.output.substr(0, line + 1), answer.output.substr(line + 1));
}

TEST_F(Front, HowThreadsOfTheEngineWaitIsLeftToItWhereTheKernelTellsEnough) {
  add_engine("echo \"$OMP_WAIT_POLICY/$GOMP_SPINCOUNT\"\n");
  add_data("data");
  const std::string command = "pretrain " + kConfigs + "tiny.yaml data.path=data";
  ::unsetenv("OMP_WAIT_POLICY");  // the test's own
  const bool tells = seconds_this_thread_waited_for_a_core().has_value();
  EXPECT_EQ(run(command).output, tells ? "/\n" : "/10000\n");
  ::setenv("GOMP_SPINCOUNT", "7", 1);
  EXPECT_EQ(run(command).output, "/7\n");
  ::unsetenv("GOMP_SPINCOUNT");
  ::setenv("OMP_WAIT_POLICY", "ACTIVE", 1);
  EXPECT_EQ(run(command).output, "ACTIVE/\n");
}

TEST_F(Front, MissingEngineIsExplained) {
  add_data("data");
  const Answer answer = run("pretrain " + kConfigs + "tiny.yaml data.path=data");
  EXPECT_EQ(answer.code, 2);
  EXPECT_THAT(answer.errors, HasSubstr("switchyard-engine is missing"));
}

TEST_F(Front, FullStandardOutputIsAStorageError) {
  if (!fs::exists("/dev/full")) GTEST_SKIP() << "this system has no /dev/full";
  EXPECT_EQ(run("config reference > /dev/full").code, 74);
}

TEST_F(Front, DebugSaysMore) {
  EXPECT_THAT(run("--debug evaluate").errors, HasSubstr("exit code 2"));
}

}  // namespace
}  // namespace switchyard
