// `switchyard doctor` and `switchyard compare` as a user meets them.
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

}  // namespace
}  // namespace switchyard
