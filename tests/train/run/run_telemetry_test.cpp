// What a run leaves for people to look at: the page and the TensorBoard events.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "support/tensorboard_reader.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"
#include "switchyard/train/pretrain.h"
#include "train/tiny_run_folder.h"

namespace switchyard::train {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class RunTelemetry : public ::testing::Test {
 protected:
  // The messages of all event files, file by file in the order in which TensorBoard reads them.
  [[nodiscard]] std::vector<std::vector<testing::ProtoMessage>> sessions() const {
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(tiny_.folder / "run")) {
      if (entry.path().filename().string().starts_with("events.out.tfevents.")) {
        files.push_back(entry.path());
      }
    }
    std::sort(files.begin(), files.end());
    std::vector<std::vector<testing::ProtoMessage>> result;
    for (const fs::path& file : files) {
      std::vector<testing::ProtoMessage>& events = result.emplace_back();
      for (const std::string& message : testing::read_tfrecords(read_file(file))) {
        events.push_back(testing::read_proto(message));
      }
    }
    return result;
  }

  TinyRunFolder tiny_;
  config::Config& config_ = tiny_.config;
};

TEST_F(RunTelemetry, FinishedRunLeavesThePageAndAnEventPerRecord) {
  config_.train.steps = 6;
  config_.train.log_every = 2;
  (void)pretrain(config_);
  const auto files = sessions();
  ASSERT_EQ(files.size(), 1U);
  std::vector<double> steps;
  for (const testing::ProtoMessage& event : files[0]) {
    if (event.bytes.contains(5)) steps.push_back(event.number(2));
  }
  EXPECT_EQ(steps, (std::vector<double>{1, 2, 4, 6, 6}));  // the last one is the evaluation
  const auto record = testing::read_summary(files[0][3]);
  EXPECT_FLOAT_EQ(static_cast<float>(record.scalars.at("loss/lm_loss")),
                  tiny_.step_records()[1]["lm_loss"].get<float>());
  const std::string page = read_file(tiny_.folder / "run/report.html");
  EXPECT_THAT(page, HasSubstr("step 6 of 6"));
  EXPECT_THAT(page, HasSubstr("How many experts a token gets"));
  EXPECT_THAT(page, HasSubstr("line"));  // the sample
}

TEST_F(RunTelemetry, ResumedRunTakesBackWhatItsCheckpointDoesNotHave) {
  config_.schedule.steps = 6;
  config_.train.steps = 4;
  (void)pretrain(config_);
  config_.train.steps = 6;
  config_.model.vocab_size = 257;  // as the resolved config has it: bytes and the separator
  (void)resume(config_, {});
  const auto files = sessions();
  ASSERT_EQ(files.size(), 2U);
  EXPECT_EQ(testing::read_proto(files[1][1].text(7)).number(1), 1.0);  // SessionLog.START
  EXPECT_EQ(files[1][1].number(2), 5.0);
  EXPECT_THAT(read_file(tiny_.folder / "run/report.html"), HasSubstr("step 6 of 6"));
}

TEST_F(RunTelemetry, APageThatCannotBeWrittenIsAFailureOfARunWhoseStepsAreAllSaved) {
  config_.train.steps = 4;
  (void)pretrain(config_);
  fs::remove(tiny_.folder / "run/report.html");
  fs::create_directory(tiny_.folder / "run/report.html");
  config_.train.steps = 6;
  config_.schedule.steps = 4;
  config_.model.vocab_size = 257;
  EXPECT_THROW((void)resume(config_, {}), StorageError);
  EXPECT_THAT(read_file(tiny_.folder / "run/log.txt"),
              HasSubstr("step 6: writing report.html failed (1 time so far)"));
  EXPECT_TRUE(fs::exists(tiny_.folder / "run/checkpoints/step-000006/manifest.json"));
}

TEST_F(RunTelemetry, WithALossyTokenizerTheRecordsHaveNoBitsPerByte) {
  const fs::path sidecar = tiny_.folder / "data" / data::kSidecarName;
  data::Sidecar lossy = data::parse_sidecar(read_file(sidecar), "data.json");
  lossy.lossless = false;
  write_file_atomically(sidecar, data::write_sidecar(lossy));
  config_.train.steps = 2;
  EXPECT_EQ(pretrain(config_).evaluation->bits_per_byte, std::nullopt);
  const format::Json record = tiny_.records().back();
  EXPECT_EQ(record["lossless"], false);
  EXPECT_TRUE(record["bits_per_byte"].is_null());
  EXPECT_THAT(read_file(tiny_.folder / "run/log.txt"), HasSubstr("(lossy tokenizer)"));
}

TEST_F(RunTelemetry, StoppedRunLeavesThePageToo) {
  config_.train.steps = 1000000;
  config_.train.log_every = 1000000;
  std::thread sender([this] {
    const fs::path metrics = tiny_.folder / "run/metrics.jsonl";
    while (!fs::exists(metrics) || fs::file_size(metrics) == 0) std::this_thread::yield();
    ::kill(::getpid(), SIGTERM);
  });
  EXPECT_THROW((void)pretrain(config_), PreemptedError);
  sender.join();
  EXPECT_THAT(read_file(tiny_.folder / "run/report.html"), HasSubstr("of 1000000"));
}

}  // namespace
}  // namespace switchyard::train
