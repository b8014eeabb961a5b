// `switchyard doctor`, `switchyard compare` and `switchyard plan` as a user meets them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "support/command.h"
#include "support/temporary_folder.h"
#include "switchyard/config/folders.h"
#include "switchyard/config/load.h"
#include "switchyard/core/file.h"

namespace switchyard {
namespace {

namespace fs = std::filesystem;
using testing::Answer;
using ::testing::HasSubstr;

class Inspect : public ::testing::Test {
 protected:
  Answer run(const std::string& arguments) {
    return testing::run_in(folder_.path(),
                           std::string("'") + SWITCHYARD_BINARY_DIR + "/switchyard' " + arguments);
  }

  void add_run(const std::string& name, const std::string& router) {
    const config::Resolved resolved =
        config::load(fs::path(SWITCHYARD_SOURCE_DIR) / "configs" / "tiny.yaml",
                     std::vector<std::string>{"run.dir=" + name, "model.vocab_size=257",
                                              "model.moe.router.type=" + router});
    fs::create_directories(folder_ / name);
    write_file_atomically(folder_ / name / config::kResolvedConfigName,
                          config::to_yaml(resolved.config));
    write_file_atomically(folder_ / name / "metrics.jsonl",
                          "{\"step\":1,\"tokens\":100,\"lm_loss\":5.5,\"experts_per_token\":2,"
                          "\"tokens_per_second\":10}\n"
                          "{\"step\":2,\"tokens\":200,\"lm_loss\":5.0,\"experts_per_token\":1,"
                          "\"tokens_per_second\":20}\n");
  }

  testing::TemporaryFolder folder_;
};

TEST_F(Inspect, DoctorFindsThisMachineUsableAndRecommendsAPrecision) {
  const Answer answer = run("doctor");
  EXPECT_EQ(answer.code, 0) << answer.errors;
  EXPECT_THAT(answer.output, HasSubstr("recommended: train.precision="));
}

TEST_F(Inspect, DoctorsJsonHasTheChecksAndTheFacts) {
  const Answer answer = run("doctor --json");
  ASSERT_EQ(answer.code, 0) << answer.errors;
  const auto json = nlohmann::json::parse(answer.output);
  EXPECT_EQ(json.at("usable"), true);
  EXPECT_THAT((std::array{"fp32", "bf16"}),
              ::testing::Contains(json.at("precision").get<std::string>()));
  EXPECT_GE(json.at("checks").size(), 10U);
  EXPECT_GT(json.at("facts").at("fp32_flops").get<double>(), 0.0);
}

TEST_F(Inspect, ComparePrintsMarkdownAndDrawsCurves) {
  add_run("a", "top_p");
  add_run("b", "top_k");
  const Answer answer = run("compare a b --svg curves.svg");
  ASSERT_EQ(answer.code, 0) << answer.errors;
  EXPECT_THAT(answer.output, HasSubstr("| `model.moe.router.type` | top_p | top_k |"));
  EXPECT_THAT(answer.output, HasSubstr("## At equal activated FLOPs"));
  EXPECT_THAT(read_file(folder_ / "curves.svg"), HasSubstr("</svg>"));
  EXPECT_EQ(run("compare a b --output c.md").output, "");
  EXPECT_EQ(read_file(folder_ / "c.md"), answer.output);
}

TEST_F(Inspect, OutputGoesWhereItLeadsAndNothingElseIsPrintedThere) {
  add_run("a", "top_p");
  add_run("b", "top_k");
  const std::string markdown = run("compare a b").output;
  fs::create_symlink("far.md", folder_ / "link.md");
  for (const char* stream : {"-", "/dev/stdout", "/dev/fd/1"}) {
    EXPECT_EQ(run(std::string("compare a b --output ") + stream).output, markdown) << stream;
    EXPECT_TRUE(run(std::string("report a --output ") + stream).output.ends_with("</html>\n"));
  }
  EXPECT_EQ(run("compare a b --output link.md").code, 0);
  EXPECT_TRUE(fs::is_symlink(folder_ / "link.md"));
  EXPECT_EQ(read_file(folder_ / "far.md"), markdown);
  EXPECT_EQ(run("report a --output page.html").output, "page.html\n");
  const std::string metrics = read_file(folder_ / "a/metrics.jsonl");
  EXPECT_EQ(run("compare a b --svg a/metrics.jsonl").code, 2);
  EXPECT_EQ(read_file(folder_ / "a/metrics.jsonl"), metrics);
}

TEST_F(Inspect, CompareNamesWhatIsNoRun) {
  add_run("a", "top_p");
  EXPECT_EQ(run("compare a").code, 2);
  EXPECT_EQ(run("compare a missing").code, 2);
  add_run("b", "top_k");
  write_file_atomically(folder_ / "b" / "metrics.jsonl", "");
  const Answer answer = run("compare a b");
  EXPECT_EQ(answer.code, 65);
  EXPECT_THAT(answer.errors, HasSubstr("b/metrics.jsonl: no step is recorded yet"));
}

TEST_F(Inspect, CompareTestsOutputsOfFinetuneSeedBySeed) {
  const auto add = [this](const std::string& name, const std::string& by_seed) {
    fs::create_directories(folder_ / name);
    write_file_atomically(folder_ / name / "finetune.json", "{}");
    write_file_atomically(
        folder_ / name / "results.json",
        R"([{"task": "rte", "dev_rows_hash": "00000000000000d0",)"
        R"( "training_rows_hash": "00000000000000e0", "training_rows": 9,)"
        R"( "max_length": 16, "epochs": 3, "seeds": [1, 2, 3], "diverged": [false, false, false],)"
        R"( "training_tokens": [5, 5, 5], "training_flops": [7.5, 7.5, 7.5],)"
        R"( "eval_accuracy": {"by_seed": )" +
            by_seed + "}}]");
  };
  add("a", "[0.5, 0.5, 0.5]");
  add("b", "[0.625, 0.75, 0.875]");
  const Answer answer = run("compare a b/");
  ASSERT_EQ(answer.code, 0) << answer.errors;
  EXPECT_THAT(answer.output, HasSubstr("# b against a"));
  EXPECT_THAT(answer.output, HasSubstr("| rte | accuracy | 3 | 0.5000 | 0.7500 | +0.2500 |"));
  EXPECT_EQ(run("compare a b --output c.md").output, "");
  EXPECT_EQ(read_file(folder_ / "c.md"), answer.output);
  const auto json = nlohmann::json::parse(run("compare a b --json").output);
  EXPECT_EQ(json.at("figures").at(0).at("wilcoxon").at("p"), 0.25);
  add_run("run", "top_p");
  EXPECT_EQ(run("compare a run").code, 2);
  add("damaged", "[0.5, 1e308, -1e308]");
  const Answer refused = run("compare a damaged");
  EXPECT_EQ(refused.code, 65);
  EXPECT_THAT(refused.errors, HasSubstr("damaged/results.json: rte: eval_accuracy"));
}

std::string shipped(const std::string& name) {
  return "'" + (fs::path(SWITCHYARD_SOURCE_DIR) / "configs" / name).string() + "'";
}

TEST_F(Inspect, PlanTakesEveryShippedConfig) {
  for (const auto& entry : fs::directory_iterator(fs::path(SWITCHYARD_SOURCE_DIR) / "configs")) {
    if (!entry.is_regular_file()) continue;  // settings for fine-tuning are no whole runs
    const std::string name = entry.path().filename().string();
    // The 3.5 billion parameters are not allocated.
    const Answer answer = run("plan " + shipped(name) + " model.vocab_size=2048 --fits 80GiB");
    EXPECT_EQ(answer.code, 0) << name << answer.errors;
    EXPECT_THAT(answer.output, HasSubstr("vocabulary 2048"));
    EXPECT_THAT(answer.output, HasSubstr("worst case"));
    EXPECT_THAT(answer.output, HasSubstr("micro-batch within 80G"));
    EXPECT_THAT(answer.output, HasSubstr("= total (CPU, loop)"));
  }
}

TEST_F(Inspect, PlanReadsTheDataThatIsThere) {
  write_file_atomically(folder_ / "text.txt", std::string(5000, 'a') + "\n");
  ASSERT_EQ(run("prepare --input text.txt --tokenizer bytes --output data").code, 0);
  const Answer answer = run("plan " + shipped("tiny.yaml") +
                            " data.path=data --experts-per-token 1.5 --measure --mfu 0.2");
  ASSERT_EQ(answer.code, 0) << answer.errors;
  EXPECT_THAT(answer.output, ::testing::ContainsRegex("epochs +[0-9.]+  of [0-9]+ windows"));
  EXPECT_THAT(answer.output, HasSubstr("expected: as given"));
  EXPECT_THAT(answer.output, HasSubstr("20 % (--mfu)"));
}

TEST_F(Inspect, PlanRefusesWhatItCannotRead) {
  const std::string tiny = "plan " + shipped("tiny.yaml") + " ";
  const Answer size = run(tiny + "model.vocab_size=99 --fits much");
  EXPECT_EQ(size.code, 2);
  EXPECT_THAT(size.errors, HasSubstr("--fits: expected a size such as 80GiB"));
  const Answer key = run(tiny + "model.vocab_sise=99");
  EXPECT_EQ(key.code, 2);
  EXPECT_THAT(key.errors, HasSubstr("did you mean 'vocab_size'?"));
  const Answer vocabulary = run(tiny);
  EXPECT_EQ(vocabulary.code, 2);
  EXPECT_THAT(vocabulary.errors, HasSubstr("model.vocab_size=N"));
  const Answer experts = run(tiny + "model.vocab_size=99 --experts-per-token 5");
  EXPECT_EQ(experts.code, 2);
  EXPECT_THAT(experts.errors, HasSubstr("a token at most 4, got 5"));
  EXPECT_EQ(run(tiny + "model.vocab_size=99 --experts-per-token 0").code, 2);
  fs::create_directories(folder_ / "broken");
  write_file_atomically(folder_ / "broken" / config::kPreparedDataName, "{}");
  EXPECT_EQ(run(tiny + "data.path=broken").code, 65);
}

TEST_F(Inspect, PlanExplainsItself) {
  const Answer answer = run("plan --help");
  EXPECT_EQ(answer.code, 0);
  for (const char* flag : {"--fits", "--experts-per-token", "--tokens-per-second", "--measure"}) {
    EXPECT_THAT(answer.output, HasSubstr(flag));
  }
}

}  // namespace
}  // namespace switchyard
