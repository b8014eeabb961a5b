// Options reach what they are for: each of them changes what its command answers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <numbers>
#include <string>

#include "support/command.h"
#include "support/temporary_folder.h"
#include "switchyard/core/file.h"

namespace switchyard {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::Answer;

// A run of four steps that all tests look at and none changes.
class TrainedRun : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = std::make_unique<testing::TemporaryFolder>();
    std::string text;
    for (int i = 0; i < 300; ++i) text += "line " + std::to_string(i * i % 97) + " of the book\n";
    write_file_atomically(*folder_ / "text.txt", text);
    write_file_atomically(*folder_ / "held.txt", "line 12 of the book, which nobody has read\n");
    ASSERT_EQ(run("prepare --input text.txt --tokenizer bytes --output data").code, 0);
    const Answer trained = run(
        "pretrain '" SWITCHYARD_SOURCE_DIR
        "/configs/tiny.yaml' data.path=data run.dir=run train.steps=4 train.checkpoint_every=2");
    ASSERT_EQ(trained.code, 0) << trained.errors;
  }
  static void TearDownTestSuite() { folder_.reset(); }

  static Answer run(const std::string& arguments) {
    return testing::run_in(folder_->path(), "'" SWITCHYARD_BINARY_DIR "/switchyard' " + arguments);
  }

  static inline std::unique_ptr<testing::TemporaryFolder> folder_;
};

TEST_F(TrainedRun, EvaluateTakesTheStrideAndTellsBitsPerByte) {
  const json result = json::parse(run("evaluate run --text held.txt --stride 4 --json").output);
  EXPECT_EQ(result.at("stride"), 4);
  EXPECT_EQ(result.at("tokens"), result.at("bytes"));  // of a byte-level tokenizer
  EXPECT_NEAR(result.at("bits_per_byte").get<double>(),
              result.at("loss").get<double>() / std::numbers::ln2, 1e-9);
  EXPECT_EQ(json::parse(run("evaluate run --text held.txt --json").output).at("stride"), 16);
}

TEST_F(TrainedRun, EvaluateRefusesTheTextThatPrepareRefuses) {
  write_file_atomically(*folder_ / "latin.txt", "caf\xE9 au lait\n");
  for (const char* command : {"evaluate run --text latin.txt", "evaluate run --text - < latin.txt",
                              "prepare --input latin.txt --tokenizer bytes --output of_latin"}) {
    const Answer refused = run(command);
    EXPECT_EQ(refused.code, 65) << command;
    EXPECT_THAT(
        refused.errors,
        ::testing::AllOf(::testing::HasSubstr("at byte 3 (line 1): 0xE9 is not valid UTF-8"),
                         ::testing::HasSubstr("iconv -f WINDOWS-1252")))
        << command;
  }
}

TEST_F(TrainedRun, EvaluateAndGenerateGoByATemperatureUnlessToldOtherwise) {
  const auto evaluated = [](const std::string& more) {
    return json::parse(run("evaluate run --text held.txt --json" + more).output);
  };
  const json plain = evaluated("");
  EXPECT_EQ(plain.at("temperature"), 1.0);
  const fs::path file = *folder_ / "run/checkpoints/step-000004/calibration.json";
  write_file_atomically(file, R"({"temperature": 2.5})");
  const json calibrated = evaluated("");
  EXPECT_EQ(calibrated.at("temperature"), 2.5);
  EXPECT_NE(calibrated.at("loss"), plain.at("loss"));
  EXPECT_EQ(evaluated(" --uncalibrated").at("loss"), plain.at("loss"));
  EXPECT_THAT(run("evaluate run --text held.txt").output,
              ::testing::HasSubstr("temperature        2.500"));
  const std::string generate = "generate run --prompt line --max-tokens 40 --temperature ";
  const std::string calibrated_text = run(generate + "0.4").output;
  write_file_atomically(file, "{damaged");
  EXPECT_EQ(evaluated(" --uncalibrated").at("loss"), plain.at("loss"));
  fs::remove(file);
  EXPECT_EQ(calibrated_text, run(generate + "1.0").output);
  EXPECT_NE(calibrated_text, run(generate + "0.4").output);
}

TEST_F(TrainedRun, EvaluateTellsHowExpertsFollowTheLossWhereTokensGetDifferentNumbers) {
  const std::string pretrain =
      "pretrain '" SWITCHYARD_SOURCE_DIR
      "/configs/tiny.yaml' data.path=data train.steps=1 schedule.warmup_steps=0 "
      "model.init_std=0.5 ";
  ASSERT_EQ(run(pretrain + "run.dir=dynamic").code, 0);
  ASSERT_EQ(run(pretrain + "run.dir=constant model.moe.router.type=top_k").code, 0);
  const json result = json::parse(run("evaluate dynamic --text text.txt --json").output);
  const json& difficulty = result.at("difficulty");
  EXPECT_TRUE(difficulty.at("correlation").at("with_loss").at("spearman").is_number());
  std::int64_t num_tokens = 0;
  for (const json& tenth : difficulty.at("by_loss")) num_tokens += tenth.at("tokens").get<int>();
  EXPECT_EQ(num_tokens, result.at("tokens"));
  EXPECT_THAT(run("evaluate dynamic --text text.txt").output,
              ::testing::ContainsRegex("experts and loss   rank correlation [+-]0\\.[0-9]+ over"));
  EXPECT_FALSE(
      json::parse(run("evaluate constant --text text.txt --json").output).contains("difficulty"));
  EXPECT_THAT(run("evaluate constant --text text.txt").output,
              ::testing::Not(::testing::HasSubstr("experts and loss")));
}

TEST_F(TrainedRun, GenerateSamplesAsItIsTold) {
  const auto text = [](const std::string& options) {
    return run("generate run --prompt line --max-tokens 8 " + options).output;
  };
  const std::string most_probable = text("--temperature 0");
  EXPECT_EQ(text("--top-k 1"), most_probable);
  EXPECT_EQ(text("--nucleus 0.000001"), most_probable);
  EXPECT_NE(text("--seed 1"), most_probable);
  EXPECT_NE(text("--seed 1"), text("--seed 2"));
}

TEST_F(TrainedRun, ResumeGoesBackToTheStepThatIsNamed) {
  fs::copy(*folder_ / "run", *folder_ / "again", fs::copy_options::recursive);
  const Answer resumed = run("resume again --from 2");
  EXPECT_EQ(resumed.code, 0) << resumed.errors;
  EXPECT_TRUE(fs::exists(*folder_ / "again/checkpoints/step-000004.rolled-back"));
  EXPECT_TRUE(fs::exists(*folder_ / "again/checkpoints/step-000004/manifest.json"));
}

TEST_F(TrainedRun, PrepareHoldsBackWhatIsNamedForValidation) {
  const Answer prepared =
      run("prepare --input text.txt --validation-input held.txt --tokenizer bytes --output split");
  ASSERT_EQ(prepared.code, 0) << prepared.errors;
  const json data = json::parse(read_file(*folder_ / "split/data.json"));
  EXPECT_EQ(data.at("validation").at("bytes"), fs::file_size(*folder_ / "held.txt"));
  EXPECT_EQ(data.at("train").at("bytes"), fs::file_size(*folder_ / "text.txt"));
}

}  // namespace
}  // namespace switchyard
