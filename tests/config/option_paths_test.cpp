// Paths on command lines: outputs that would destroy something or lead nowhere, tildes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "config/options_fixture.h"

namespace switchyard::config {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST_F(Options, OutputMayNotDestroyARunACheckpointOrADataSet) {
  for (const char* name : {"run/metrics.jsonl", "run/samples/step-000010.txt", "data/data.json"}) {
    std::filesystem::create_directories((folder_ / name).parent_path());
    write_file_atomically(folder_ / name, "");
  }
  std::filesystem::create_symlink("run/metrics.jsonl", folder_ / "link");
  for (const char* name :
       {"run/metrics.jsonl", "run/./config.resolved.yaml", "run/log.txt", "run/run.lock", "link",
        "run/events.out.tfevents.1.host", "run/checkpoints/LATEST", "run/samples/step-000010.txt",
        "run/checkpoints/step-000010/model.safetensors", "data/train.bin", "data/data.json"}) {
    EXPECT_THAT(problem_of("report", {at("run"), "--output", at(name)}),
                HasSubstr("which it would destroy"))
        << name;
  }
  for (const char* name : {"run/report.html", "run/curves.svg", "page.html", "data/notes.md"}) {
    EXPECT_EQ(problem_of("report", {at("run"), "--output", at(name)}), "") << name;
  }
  EXPECT_EQ(problem_of("report", {at("run"), "--output", "-"}), "");
  EXPECT_EQ(problem_of("report", {at("run"), "--output", "/dev/stdout"}), "");
  EXPECT_THAT(problem_of("report", {at("run"), "--output", at("run")}), HasSubstr("a folder"));
  EXPECT_THAT(problem_of("report", {at("run"), "--output", at("no/page.html")}),
              HasSubstr("no folder"));
}

TEST_F(Options, OutputMayNotDestroyTheResultsOfFinetune) {
  std::filesystem::create_directories(folder_ / "out/submission");
  write_file_atomically(folder_ / "run/config.resolved.yaml", "");
  for (const char* name : {"out/results.json", "out/report.html", "out/submission/RTE.tsv"}) {
    EXPECT_EQ(problem_of("report", {at("run"), "--output", at(name)}), "") << name;
  }
  write_file_atomically(folder_ / "out/finetune.json", "{}");
  for (const char* name : {"out/results.json", "out/results.md", "out/report.html", "out/log.txt",
                           "out/finetune.json", "out/submission/RTE.tsv"}) {
    EXPECT_THAT(problem_of("report", {at("run"), "--output", at(name)}),
                AllOf(HasSubstr("is a file of the output of finetune"),
                      HasSubstr("which it would destroy")))
        << name;
  }
  EXPECT_EQ(problem_of("report", {at("run"), "--output", at("out/page.html")}), "");
}

TEST_F(Options, OutputMayNotDestroyWhatAFineTunedRunIsReadFor) {
  std::filesystem::create_directories(folder_ / "run");
  for (const char* name : {"config.resolved.yaml", "predictions.tsv", "predictions_mm.tsv"}) {
    write_file_atomically(folder_ / "run" / name, "");
  }
  write_file_atomically(folder_ / "rows.tsv", "");
  const auto problem = [this](const char* name) {
    return problem_of("predict", {at("run"), "--input", at("rows.tsv"), "--output", at(name)});
  };
  for (const char* name : {"run/eval_results.json", "run/origin.json", "run/predictions.tsv",
                           "run/predictions_mm.tsv"}) {
    EXPECT_THAT(problem(name), HasSubstr("which it would destroy")) << name;
  }
  for (const char* name : {"run/predictions-of-mine.tsv", "labels.tsv", "predictions.tsv"}) {
    EXPECT_EQ(problem(name), "") << name;
  }
}

TEST_F(Options, OutputMayBeNeitherAnInputNorAnotherOutput) {
  std::filesystem::create_directories(folder_ / "run");
  write_file_atomically(folder_ / "run/config.resolved.yaml", "");
  write_file_atomically(folder_ / "rows.tsv", "");
  std::filesystem::create_symlink("rows.tsv", folder_ / "link");
  std::filesystem::create_hard_link(folder_ / "rows.tsv", folder_ / "hard");
  for (const char* name : {"rows.tsv", "./rows.tsv", "link", "hard"}) {
    EXPECT_THAT(problem_of("predict", {at("run"), "--input", at("rows.tsv"), "--output", at(name)}),
                HasSubstr("is the file of --input, which it would destroy"))
        << name;
  }
  EXPECT_EQ(problem_of("predict", {at("run"), "--input", "-", "--output", "-"}), "");
  const auto curves = [this](const std::string& table, const std::string& svg) {
    return problem_of("compare", {at("run"), at("run"), "--output", table, "--svg", svg});
  };
  EXPECT_THAT(curves(at("new"), at("run/../new")), HasSubstr("--svg: "));
  EXPECT_THAT(curves(at("rows.tsv"), at("link")), HasSubstr("which it would destroy"));
  EXPECT_EQ(curves(at("new.md"), at("new.svg")), "");
  EXPECT_EQ(curves("/dev/null", "/dev/null"), "");
}

TEST_F(Options, CurvesAndTableDoNotGoIntoOneStream) {
  std::filesystem::create_symlink("/dev/stdout", folder_ / "link");
  const auto problem = [this](Arguments more) {
    more.insert(more.begin(), {at("run"), at("run")});
    return problem_of("compare", more);
  };
  for (const std::string& stream :
       {std::string("-"), std::string("/dev/stdout"), std::string("/proc/self/fd/1"), at("link")}) {
    EXPECT_THAT(problem({"--svg", stream}), HasSubstr("goes to standard output already"));
    EXPECT_THAT(problem({"--svg", stream, "--output", "-"}), HasSubstr("--svg: ")) << stream;
    EXPECT_EQ(problem({"--svg", stream, "--output", at("new.md")}), "") << stream;
    EXPECT_EQ(problem({"--output", stream, "--svg", at("new.svg")}), "") << stream;
  }
}

// Before the work, not after it.
TEST_F(Options, AnOutputThatIsALinkToNowhereIsRefused) {
  write_file_atomically(folder_ / "run/config.resolved.yaml", "");
  std::filesystem::create_symlink("no/page.html", folder_ / "far");
  std::filesystem::create_symlink("circle", folder_ / "circle");
  std::filesystem::create_symlink("page.html", folder_ / "near");
  const auto problem = [this](const char* name) {
    return problem_of("report", {at("run"), "--output", at(name)});
  };
  EXPECT_THAT(problem("far"), HasSubstr("no folder"));
  EXPECT_THAT(problem("circle"), HasSubstr("the link leads in a circle"));
  EXPECT_EQ(problem("near"), "");
}

// As `plan <(...)` gives one: both programs read it.
TEST_F(Options, AConfigIsARegularFile) {
  ASSERT_EQ(::mkfifo(at("pipe").c_str(), 0600), 0);
  std::filesystem::create_symlink("pipe", folder_ / "link");
  std::filesystem::create_symlink("x.yaml", folder_ / "to_file");
  for (const char* name : {"pipe", "link"}) {
    EXPECT_THAT(problem_of("plan", {at(name)}),
                HasSubstr("is a pipe, which can be read only once; write it to a file"));
  }
  EXPECT_THAT(problem_of("config show", {"/dev/null"}), HasSubstr("is a device"));
  EXPECT_EQ(problem_of("plan", {at("to_file")}), "");
  EXPECT_EQ(problem_of("evaluate", {at("run"), "--text", at("pipe")}), "") << "read once";
}

TEST_F(Options, ATildeThatNoShellExpandedIsRefusedWithThePathThatWasMeant) {
  ::setenv("HOME", "/home/me", 1);
  EXPECT_THAT(problem_of("prepare", {"--input", "-", "--tokenizer", "bytes", "--output=~/x"}),
              AllOf(HasSubstr("--output"), HasSubstr("write /home/me/x (or ./~/x)")));
  EXPECT_THAT(problem_of("report", {"~me/run"}), HasSubstr("write the whole path"));
  EXPECT_THAT(problem_of("prepare", {"--input", "-", "--tokenizer=~/t.model", "--output", "x"}),
              HasSubstr("/home/me/t.model"));
}

}  // namespace
}  // namespace switchyard::config
