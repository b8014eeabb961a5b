// Ranks as processes of this machine with a simulated GPU each, started by `switchyard launch` or
// by hand with torchrun's variables; they meet over TCP and train over the simulated NCCL.
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
using testing::Answer;
using ::testing::AnyOf;
using ::testing::HasSubstr;

class RanksOnSimulatedDevices : public ::testing::Test {
 protected:
  // The front looks for the engine beside itself.
  void SetUp() override {
    const fs::path binaries = SWITCHYARD_BINARY_DIR;
    fs::copy_file(binaries / "switchyard", folder_ / "switchyard");
    fs::create_symlink(binaries / "tests/engine_on_simulated_device",
                       folder_ / "switchyard-engine");
    std::ofstream text(folder_ / "text.txt");
    for (int i = 0; i < 600; ++i) text << "line " << i * i % 97 << " of the book\n";
    text.close();
    ASSERT_EQ(run("prepare --input text.txt --tokenizer bytes --output data").code, 0);
  }

  Answer run(const std::string& arguments, const std::string& environment = "") const {
    return testing::run_in(folder_.path(), "env OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE " +
                                               environment + " ./switchyard " + arguments);
  }

  [[nodiscard]] static std::string pretrain(const std::string& name, const std::string& more) {
    return "pretrain '" + std::string(SWITCHYARD_SOURCE_DIR) +
           "/configs/tiny.yaml' data.path=data run.dir=" + name +
           " train.device=cuda train.precision=fp32 train.micro_batch_size=2 "
           "train.global_batch_size=8 model.init_std=0.2 optim.learning_rate=1e-3 "
           "train.evaluate_tokens=256 train.steps=8 train.checkpoint_every=4 train.log_every=1 " +
           more;
  }

  // Two ranks, of which the second gets the signal once they train.
  [[nodiscard]] Answer launch_and_signal(const std::string& name, const std::string& more,
                                         const std::string& signal) const {
    return testing::run_in(folder_.path(),
                           "env OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE sh -c './switchyard "
                           "launch --nproc 2 -- " +
                               pretrain(name, more) + " & launcher=$!; until grep -qs step.:3, " +
                               name +
                               "/metrics.jsonl; do kill -0 $launcher || break; sleep 0.05; done; "
                               "kill -" +
                               signal + " $(pgrep -P $launcher | tail -1); wait $launcher'");
  }

  [[nodiscard]] double last_loss(const std::string& name) const {
    std::ifstream metrics(folder_ / name / "metrics.jsonl");
    double loss = -1.0;
    for (std::string line; std::getline(metrics, line);) {
      const auto record = nlohmann::json::parse(line);
      if (record.contains("lm_loss")) loss = record["lm_loss"].get<double>();
    }
    return loss;
  }

  testing::TemporaryFolder folder_;
};

TEST_F(RanksOnSimulatedDevices, LaunchTrainsOverNcclAsOneDeviceDoes) {
  const Answer one = run(pretrain("one", "train.micro_batch_size=4 schedule.steps=10"));
  ASSERT_EQ(one.code, 0) << one.errors;
  const Answer two =
      run("launch --nproc 2 -- " + pretrain("two", "parallel.expert=2 schedule.steps=10"));
  ASSERT_EQ(two.code, 0) << two.errors;
  EXPECT_THAT(two.errors, HasSubstr("ranks: 2, the experts split over groups of 2"));
  EXPECT_GT(last_loss("one"), 0.0);
  EXPECT_NEAR(last_loss("two"), last_loss("one"), 1e-4 * last_loss("one"));
  EXPECT_TRUE(fs::exists(folder_ / "two/checkpoints/step-000008/model-00002-of-00002.safetensors"));
  const Answer on = run("resume two train.steps=10");
  EXPECT_EQ(on.code, 2) << "experts are split over 2 ranks";
  const Answer resumed = run("launch --nproc 2 -- resume two train.steps=10");
  EXPECT_EQ(resumed.code, 0) << resumed.errors;
}

TEST_F(RanksOnSimulatedDevices, OneThatFailsEndsAllWithItsCode) {
  const Answer answer =
      run("launch --nproc 5 -- " + pretrain("five", "train.global_batch_size=10"));
  EXPECT_EQ(answer.code, 2) << answer.errors;
  EXPECT_THAT(answer.errors, HasSubstr("rank 4 of this machine, where LibTorch finds 4 GPUs"));
}

TEST_F(RanksOnSimulatedDevices, DoctorMeasuresTheLinksBetweenThem) {
  const Answer answer = run("launch --nproc 2 -- doctor --links --device cuda");
  EXPECT_EQ(answer.code, 0) << answer.errors;
  EXPECT_THAT(answer.output, HasSubstr("links           2 ranks: between two "));
}

TEST_F(RanksOnSimulatedDevices, AKilledRankEndsAllAndIsNamed) {
  const Answer answer = launch_and_signal("killed", "train.steps=100000", "KILL");
  EXPECT_EQ(answer.code, 77) << answer.errors;
  EXPECT_THAT(answer.errors, HasSubstr("rank 1 was ended by signal 9"));
}

// NCCL itself would wait for ever.
TEST_F(RanksOnSimulatedDevices, AStoppedRankIsNamedWithTheCollective) {
  const Answer answer =
      launch_and_signal("stopped", "train.steps=100000 parallel.timeout=3", "STOP");
  EXPECT_EQ(answer.code, 77) << answer.errors;
  EXPECT_THAT(answer.errors, HasSubstr("the ranks do not go on"));
  EXPECT_THAT(answer.errors, AnyOf(HasSubstr("rank 1 never entered it"),
                                   HasSubstr("rank 1 has entered it, but its process")))
      << "wherever it was stopped";
  EXPECT_THAT(answer.errors, HasSubstr("is stopped"));
}

TEST_F(RanksOnSimulatedDevices, RanksOfTorchrunMeetAtTheirAddress) {
  const std::string ranks =
      "sh -c 'MASTER_ADDR=127.0.0.1 MASTER_PORT=29517 WORLD_SIZE=2 LOCAL_WORLD_SIZE=2; "
      "export MASTER_ADDR MASTER_PORT WORLD_SIZE LOCAL_WORLD_SIZE; "
      "RANK=1 LOCAL_RANK=1 ./switchyard " +
      pretrain("run", "") +
      " & "
      "RANK=0 LOCAL_RANK=0 ./switchyard " +
      pretrain("run", "") + "; code=$?; wait $! && exit $code'";
  const Answer answer =
      testing::run_in(folder_.path(), "env OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE " + ranks);
  EXPECT_EQ(answer.code, 0) << answer.errors;
  EXPECT_GT(last_loss("run"), 0.0);
}

TEST_F(RanksOnSimulatedDevices, WithoutAPlaceToMeetThereIsAHint) {
  const Answer answer = run(pretrain("run", ""), "RANK=0 WORLD_SIZE=2");
  EXPECT_EQ(answer.code, 2);
  EXPECT_THAT(answer.errors, HasSubstr("nothing says where they can meet"));
  EXPECT_THAT(answer.errors, HasSubstr("MASTER_ADDR"));
}

}  // namespace
}  // namespace switchyard
