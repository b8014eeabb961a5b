// The verbs of the real engine, linked with a simulated GPU in place of LibTorch's CUDA library.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include <nlohmann/json.hpp>
#include "support/command.h"
#include "support/temporary_folder.h"
#include "switchyard/core/file.h"

namespace switchyard {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using testing::Answer;
using ::testing::HasSubstr;
using ::testing::Not;

const std::string kEngine =
    std::string(SWITCHYARD_BINARY_DIR) + "/tests/engine_on_simulated_device";

class VerbsOnSimulatedDevice : public ::testing::Test {
 protected:
  void SetUp() override {
    std::ofstream text(folder_ / "text.txt");
    for (int i = 0; i < 600; ++i) text << "line " << i * i % 97 << " of the book\n";
    text.close();
    std::ofstream(folder_ / "other.txt") << "line 3 of the other book\nline 64 of it\n";
    ASSERT_EQ(run("prepare --input text.txt --tokenizer bytes --output data").code, 0);
  }

  Answer run(const std::string& arguments, const std::string& environment = "") {
    return testing::run_in(folder_.path(), "env OMP_WAIT_POLICY=PASSIVE " + environment + " " +
                                               kEngine + " " + arguments);
  }

  // 12 steps, saved every 4.
  [[nodiscard]] static std::string pretrain(const std::string& name) {
    return tiny(name) +
           " train.steps=12 train.checkpoint_every=4 train.keep_last=9 train.sample_every=6 "
           "train.sample_prompt=line train.calibrate=true";
  }
  [[nodiscard]] static std::string tiny(const std::string& name) {
    return "pretrain '" + std::string(SWITCHYARD_SOURCE_DIR) +
           "/configs/tiny.yaml' data.path=data run.dir=" + name +
           " train.device=cuda train.precision=bf16 train.deterministic=true model.dropout=0.1 "
           "model.init_std=0.2 optim.learning_rate=1e-3 "
           "train.evaluate_tokens=256 model.moe.router.type=attention_importance";
  }

  [[nodiscard]] std::string tensors_of(const std::string& name) const {
    std::string all;
    for (const char* file : {"model", "optimizer", "router_state"}) {
      all += read_file(folder_ / name / "checkpoints/step-000012" /
                       (std::string(file) + ".safetensors"));
    }
    return all + read_file(folder_ / name / "checkpoints/step-000012/calibration.json");
  }

  testing::TemporaryFolder folder_;
};

TEST_F(VerbsOnSimulatedDevice, TrainStopAndResumeBitForBitThenEvaluateAndGenerate) {
  const Answer whole = run(pretrain("whole"));
  ASSERT_EQ(whole.code, 0) << whole.errors;
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_ / "whole/samples"), {}), 2);

  // A signal in the middle, then the rest.
  const std::string stopped = "sh -c \"" + kEngine + " " + pretrain("stopped") +
                              " & pid=\\$!; until grep -qs 'step.:5,' stopped/metrics.jsonl; do "
                              "kill -0 \\$pid || break; sleep 0.02; done; kill -TERM \\$pid; "
                              "wait \\$pid\"";
  const Answer stop = testing::run_in(folder_.path(), stopped);
  ASSERT_EQ(stop.code, 75) << stop.errors;
  EXPECT_FALSE(fs::exists(folder_ / "stopped/checkpoints/step-000012"));
  const Answer resumed = run("resume stopped");
  ASSERT_EQ(resumed.code, 0) << resumed.errors;
  EXPECT_TRUE(tensors_of("stopped") == tensors_of("whole"));
  EXPECT_THAT(resumed.errors, Not(HasSubstr("bit for bit")));
  EXPECT_THAT(whole.errors, Not(HasSubstr("warning")));

  const std::string loose = pretrain("loose") + " train.deterministic=false train.precision=fp32";
  const Answer begun = run(loose + " train.steps=4");
  ASSERT_EQ(begun.code, 0) << begun.errors;
  EXPECT_THAT(begun.errors, HasSubstr("train.precision=bf16 is many times faster"));
  const Answer on = run("resume loose train.steps=5");
  ASSERT_EQ(on.code, 0) << on.errors;
  EXPECT_THAT(on.errors, Not(HasSubstr("bf16"))) << "which a run cannot change";
  EXPECT_THAT(read_file(folder_ / "loose/log.txt"), HasSubstr("train.deterministic=true"));

  const auto loss_on = [&](const std::string& device) {
    const Answer answer =
        run("evaluate whole --text other.txt --json --precision fp32 --device " + device);
    EXPECT_EQ(answer.code, 0) << answer.errors;
    return nlohmann::json::parse(answer.output).at("loss").get<double>();
  };
  const double expected = loss_on("cpu");
  EXPECT_NEAR(loss_on("cuda"), expected, 1e-4 * expected);

  // Longer than the window of 32 tokens.
  const auto text_of = [&](const std::string& more) {
    const Answer answer =
        run("generate whole --prompt line --temperature 0 --max-tokens 30 --show-experts " + more);
    EXPECT_EQ(answer.code, 0) << answer.errors;
    return answer.output;
  };
  const std::string cached = text_of("--device cuda");
  EXPECT_THAT(cached, HasSubstr("l("));
  EXPECT_EQ(text_of("--device cuda --no-cache"), cached);
  EXPECT_EQ(text_of("--device cpu"), cached);
}

TEST_F(VerbsOnSimulatedDevice, ARunThatDoesNotFitEndsWith71AndSaysWhatHelps) {
  ASSERT_EQ(run(tiny("fits") + " train.steps=4").code, 0);
  const std::string metrics = read_file(folder_ / "fits/metrics.jsonl");
  const auto first = nlohmann::json::parse(metrics.substr(0, metrics.find('\n')));
  const auto bytes = first.at("memory_bytes").get<std::int64_t>();
  const std::string limit = "SWITCHYARD_SIMULATED_DEVICE_BYTES=" + std::to_string(bytes * 8 / 10);
  const Answer answer = run(tiny("large") + " train.steps=4", limit);
  EXPECT_EQ(answer.code, 71) << answer.errors;
  EXPECT_THAT(answer.errors, AllOf(HasSubstr("step 1 needs more memory"),
                                   HasSubstr("train.micro_batch_size (now 4)")));
  const Answer none =
      run(tiny("none") + " train.steps=4", "SWITCHYARD_SIMULATED_DEVICE_BYTES=65536");
  EXPECT_EQ(none.code, 71) << none.errors;
  EXPECT_THAT(none.errors, AllOf(HasSubstr("and the GPU has 64K"), HasSubstr("smaller model")));
  const Answer smaller =
      run(tiny("smaller") + " train.steps=4 train.micro_batch_size=1 train.recompute=true", limit);
  EXPECT_EQ(smaller.code, 0) << smaller.errors;
}

TEST_F(VerbsOnSimulatedDevice, DoctorFindsTheDeviceAndPlanMeasures) {
  EXPECT_THAT(run("doctor").output, HasSubstr("4 usable"));
  const Answer plan = run("plan '" + std::string(SWITCHYARD_SOURCE_DIR) +
                          "/configs/tiny.yaml' data.path=data train.device=cuda --measure");
  EXPECT_EQ(plan.code, 0) << plan.errors;
}

}  // namespace
}  // namespace switchyard
