// Every verb with standard output and standard error closed, full, limited or with a reader that
// went away, and with file names of any bytes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "support/command.h"
#include "support/temporary_folder.h"
#include "switchyard/config/folders.h"
#include "switchyard/core/file.h"
#include "switchyard/core/text.h"
#include "switchyard/core/utf8.h"

namespace switchyard {
namespace {

namespace fs = std::filesystem;
using testing::Answer;
using ::testing::AnyOf;
using ::testing::Eq;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr int kPipeSignal = 128 + 13;

// A prepared data set and a finished run of two steps; made once.
class Streams : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new testing::TemporaryFolder;
    write_file_atomically(*folder_ / "text.txt", text());
    ASSERT_EQ(run("prepare --input text.txt --tokenizer bytes --output data").code, 0);
    ASSERT_EQ(run(pretrain("run")).code, 0);
  }
  static void TearDownTestSuite() {
    delete folder_;
    folder_ = nullptr;
  }

  static std::string text() {
    std::string lines;
    for (int i = 0; i < 300; ++i) lines += "line " + std::to_string(i * i % 97) + " of the book\n";
    return lines;
  }
  static std::string config() {
    return shell_quoted(std::string(SWITCHYARD_SOURCE_DIR) + "/configs/tiny.yaml");
  }
  static std::string pretrain(const std::string& name) {
    return "pretrain " + config() + " data.path=data run.dir=" + name +
           " train.steps=2 schedule.warmup_steps=0 train.sample_tokens=4";
  }
  // Verbs that print their result.
  static std::vector<std::string> printing() {
    return {"--help",
            "--version",
            "pretrain --help",
            "config reference",
            "config show " + config() + " data.path=data",
            "config check " + config() + " data.path=data",
            "plan " + config() + " data.path=data",
            "report run --output -",
            "compare run run",
            "evaluate run --text text.txt",
            "evaluate run --text text.txt --json",
            "generate run --prompt line --max-tokens 3"};
  }

  // `how`: redirections and what comes behind, as bash reads them; $? is that of switchyard.
  static Answer run(const std::string& arguments, const std::string& how = "",
                    const std::string& before = "") {
    write_file_atomically(*folder_ / "script.sh",
                          before + "\n'" + std::string(SWITCHYARD_BINARY_DIR) + "/switchyard' " +
                              arguments + " " + how + "\nexit ${PIPESTATUS[0]}\n");
    return testing::run_in(folder_->path(), "bash script.sh");
  }

  static testing::TemporaryFolder* folder_;
};

testing::TemporaryFolder* Streams::folder_ = nullptr;

TEST_F(Streams, AReaderThatGoesAwayEndsAVerbWithoutAWord) {
  for (const std::string& verb : printing()) {
    const Answer answer = run(verb, "| (exec <&-; sleep 0.1)");
    EXPECT_THAT(answer.code, AnyOf(Eq(0), Eq(kPipeSignal))) << verb << answer.errors;
    EXPECT_THAT(answer.errors, Not(HasSubstr("error"))) << verb;
  }
}

TEST_F(Streams, OutputThatCannotBeWrittenIsAnError) {
  for (const std::string& verb : printing()) {
    for (const char* how : {">&-", "> /dev/full"}) {
      const Answer answer = run(verb, how);
      EXPECT_EQ(answer.code, 74) << verb << how;
      EXPECT_THAT(answer.errors, HasSubstr("cannot write")) << verb << how;
    }
  }
}

TEST_F(Streams, ALimitOnFilesIsAnErrorAndNoSignal) {
  for (const std::string& verb : printing()) {
    const Answer answer = run(verb, "> limited.txt", "ulimit -f 0");
    EXPECT_EQ(answer.code, 74) << verb << answer.errors;
  }
  EXPECT_EQ(run("report run --output page.html", "", "ulimit -f 1").code, 74);
  EXPECT_FALSE(fs::exists(*folder_ / "page.html"));
  const Answer prepared =
      run("prepare --input text.txt --tokenizer bytes --output limited", "", "ulimit -f 4");
  EXPECT_EQ(prepared.code, 74);
  EXPECT_THAT(prepared.errors, HasSubstr("`ulimit -f` shows it"));
  EXPECT_FALSE(fs::exists(*folder_ / "limited"));
  const Answer trained = run(pretrain("limited"), "", "ulimit -f 20");
  EXPECT_EQ(trained.code, 74);
  EXPECT_THAT(trained.errors, HasSubstr("`ulimit -f` shows it"));
}

TEST_F(Streams, WithoutAnyDescriptorsTheWorkIsDoneAndNoFileHoldsMessages) {
  for (const char* how : {"2>&-", "<&- >&- 2>&-"}) {
    fs::remove_all(*folder_ / "other");
    fs::remove_all(*folder_ / "mute");
    EXPECT_EQ(run(pretrain("mute"), how).code, 0) << how;
    EXPECT_TRUE(fs::exists(*folder_ / "mute/report.html"));
    EXPECT_TRUE(config::holds_run_with_checkpoint(*folder_ / "mute"));
    EXPECT_TRUE(read_file(*folder_ / "mute/metrics.jsonl").starts_with("{"));
    // The summary is lost, and said to be; the data set is whole.
    const int code = run("prepare --input text.txt --tokenizer bytes --output other", how).code;
    EXPECT_EQ(code, std::string(how) == "2>&-" ? 0 : 74);
    EXPECT_EQ(read_file(*folder_ / "other/train.bin"), read_file(*folder_ / "data/train.bin"));
    EXPECT_TRUE(config::holds_prepared_data(*folder_ / "other"));
  }
  for (const std::string& verb : printing()) {
    EXPECT_EQ(run(verb, "2>&- > out.txt").code, 0) << verb;
  }
}

TEST_F(Streams, TrainingOutlivesTheReaderOfItsMessages) {
  fs::remove_all(*folder_ / "piped");
  EXPECT_EQ(run(pretrain("piped"), "2>&1 | (exec <&-; sleep 0.1)").code, 0);
  EXPECT_TRUE(fs::exists(*folder_ / "piped/report.html"));
}

TEST_F(Streams, NamesOfAnyBytesAreShownSafelyInEveryOutput) {
  const std::string odd = "a\xff\n'\"\033[31m b";
  const std::string quoted = shell_quoted(odd);
  fs::copy(*folder_ / "run", *folder_ / odd, fs::copy_options::recursive);
  write_file_atomically(*folder_ / (odd + ".txt"), text());
  const std::string text_name = shell_quoted(odd + ".txt");
  const auto is_safe = [](const std::string& output) {
    return !first_invalid_utf8(output) && output.find('\033') == std::string::npos;
  };
  for (const std::string& verb :
       {"evaluate " + quoted + " --text " + text_name,
        "evaluate " + quoted + " --text " + text_name + " --json",
        "report " + quoted + " --output -", "compare run " + quoted + " --svg curves.svg",
        "prepare --input " + text_name + " --tokenizer bytes --output out" + quoted}) {
    const Answer answer = run(verb);
    EXPECT_EQ(answer.code, 0) << verb << answer.errors;
    EXPECT_TRUE(is_safe(answer.output)) << verb;
    EXPECT_TRUE(is_safe(answer.errors)) << verb << answer.errors;
  }
  const auto json =
      nlohmann::json::parse(run("evaluate " + quoted + " --text " + text_name + " --json").output);
  EXPECT_THAT(json.at("text").get<std::string>(), HasSubstr("\n'\"\033[31m b"));
  // Errors, too.
  for (const std::string& verb :
       {"evaluate x" + quoted + " --text text.txt", "evaluate run --text x" + text_name,
        "report x" + quoted, "config show x" + quoted, "plan x" + quoted}) {
    const Answer answer = run(verb);
    EXPECT_EQ(answer.code, 2) << verb;
    EXPECT_TRUE(is_safe(answer.errors)) << verb << answer.errors;
  }
}

TEST_F(Streams, VariablesOfAnyBytesAreRecorded) {
  fs::remove_all(*folder_ / "odd_environment");
  const Answer answer = run(pretrain("odd_environment"), "",
                            "export GOMP_SPINCOUNT=$'5\\xff' OMP_WAIT_POLICY=$'\\xfe'");
  EXPECT_EQ(answer.code, 0) << answer.errors;
  EXPECT_EQ(run("resume odd_environment train.steps=3").code, 0);
}

}  // namespace
}  // namespace switchyard
