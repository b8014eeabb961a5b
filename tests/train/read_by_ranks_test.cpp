#include "switchyard/train/read_by_ranks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "checkpoint/saved_step.h"
#include "support/one_byte_changed.h"
#include "support/temporary_folder.h"
#include "switchyard/comm/forwarding.h"
#include "switchyard/comm/self.h"
#include "switchyard/comm/text.h"
#include "switchyard/comm/threads.h"
#include "switchyard/config/load.h"
#include "switchyard/core/error.h"
#include "switchyard/core/hash.h"
#include "switchyard/train/pretrain.h"
#include "train/tiny_run_folder.h"

namespace switchyard::train {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::save_step;
using ::testing::ThrowsMessage;

// Whichever rank reads the damaged file.
TEST(LookAtCheckpoints, PassesOverOneThatAnyRankFindsDamaged) {
  const testing::TemporaryFolder folder;
  (void)save_step(folder.path(), 1);
  const fs::path newest = save_step(folder.path(), 2);
  for (const char* file : {"model.safetensors", "optimizer.safetensors", "tokenizer.json"}) {
    const testing::OneByteChanged damage(newest / file);
    comm::run_ranks(3, [&](comm::Communicator& world) {
      int num_looks = 0;
      look_at_checkpoints(world, [&](const checkpoint::ReadContents& read) {
        ++num_looks;
        const checkpoint::NewestSound found = checkpoint::open_newest_sound(folder.path(), read);
        EXPECT_EQ(found.checkpoint.value().step(), 1);
        ASSERT_EQ(found.damaged.size(), 1U);
        EXPECT_THAT(found.damaged[0].reason, HasSubstr(std::string(file) + ": its checksum"));
      });
      EXPECT_EQ(num_looks, world.rank() == 0 ? 1 : 0);
      world.barrier("all have come back");
    });
  }
}

// Gone between the leader's first look and the reading.
TEST(LookAtCheckpoints, TakesWhatRanksDoNotSeeForNoDamage) {
  const testing::TemporaryFolder folder;
  (void)save_step(folder.path(), 1);
  const fs::path newest = save_step(folder.path(), 2);
  const auto look = [&](comm::Communicator& world) {
    look_at_checkpoints(world, [&](const checkpoint::ReadContents& read) {
      (void)checkpoint::open_newest_sound(folder.path(), [&](const fs::path& step) {
        fs::rename(step / "model.safetensors", step / "elsewhere");
        return read(step);
      });
      ADD_FAILURE() << "it took the step before";
    });
  };
  EXPECT_THAT([&] { comm::run_ranks(2, look); },
              ThrowsMessage<StorageError>(HasSubstr("model.safetensors: missing")));
}

// Rank 1 speaks for itself, as one on another machine would.
std::function<void(comm::Communicator&)> with_rank_1_that_finds(const fs::path& checkpoints,
                                                                const std::string& findings) {
  return [checkpoints, findings](comm::Communicator& world) {
    if (world.rank() == 0) {
      look_at_checkpoints(world, [&](const checkpoint::ReadContents& read) {
        (void)checkpoint::open_newest_sound(checkpoints, read);
      });
      return;
    }
    constexpr const char* kName = "reading a checkpoint";
    (void)comm::text_of_first(world, "", kName);
    (void)comm::all_gather_text(world, findings, kName);
    (void)comm::text_of_first(world, "", kName);
  };
}

TEST(LookAtCheckpoints, BelievesNoRankThatReadsWhatTheFirstDoesNot) {
  const testing::TemporaryFolder folder;
  const std::string manifest = xxh3_of_file(save_step(folder.path(), 1) / "manifest.json");
  const auto expect_refused = [&](const std::string& findings, const std::string& said) {
    EXPECT_THAT([&] { comm::run_ranks(2, with_rank_1_that_finds(folder.path(), findings)); },
                ThrowsMessage<StorageError>(AllOf(HasSubstr("rank 1"), HasSubstr(said))));
  };
  expect_refused(R"({"manifest": ")" + manifest + R"(", "damaged": "model.safetensors"})",
                 "does not read");
  expect_refused(R"({"manifest": "00", "damaged": ""})", "another manifest.json");
  expect_refused(R"({"error": "no such folder"})", "no such folder");
}

TEST(LookAtCheckpoints, LeavesReadingToAProcessThatIsAlone) {
  bool has_looked = false;
  look_at_checkpoints(*comm::make_self_communicator(), [&](const checkpoint::ReadContents& read) {
    has_looked = true;
    EXPECT_FALSE(read);
  });
  EXPECT_TRUE(has_looked);
}

// Counts how often ranks tell each other what they have read.
class CountedReadings final : public comm::Forwarding {
 public:
  using Forwarding::Forwarding;
  void all_gather(const at::Tensor& own, at::Tensor& all, std::string_view name) override {
    if (name == "reading a checkpoint") ++num_readings;
    Forwarding::all_gather(own, all, name);
  }
  int num_readings = 0;
};

class RunsThatReadTogether : public ::testing::Test {
 protected:
  RunsThatReadTogether() {
    config_.train.steps = 4;
    config_.train.checkpoint_every = 2;
    config_.train.global_batch_size = 4;
    config_.train.micro_batch_size = 2;
    comm::run_ranks(2, [&](comm::Communicator& world) { (void)pretrain(config_, world); });
  }
  [[nodiscard]] fs::path checkpoints() const { return fs::path(config_.run.dir) / "checkpoints"; }

  TinyRunFolder tiny_;
  config::Config config_ = tiny_.config;
};

TEST_F(RunsThatReadTogether, SetADamagedCheckpointAside) {
  testing::change_one_byte(checkpoints() / "step-000004" / "optimizer-00002-of-00002.safetensors");
  comm::run_ranks(2, [&](comm::Communicator& ranks) {
    CountedReadings world(ranks);
    config::Config config =
        config::load(fs::path(config_.run.dir) / "config.resolved.yaml", {}).config;
    config.train.steps = 6;
    (void)resume(config, {.keys = {"schedule"}}, std::nullopt, world);
    EXPECT_EQ(world.num_readings, 2 * 2) << "sizes and texts, of two checkpoints";
  });
  EXPECT_TRUE(fs::exists(checkpoints() / "step-000004.damaged"));
  EXPECT_TRUE(fs::exists(checkpoints() / "step-000006"));
}

TEST_F(RunsThatReadTogether, BeginFromACheckpoint) {
  config::Config config = config_;
  config.run.from = (checkpoints() / "step-000004").string();
  config.run.dir = (tiny_.folder / "other").string();
  comm::run_ranks(2, [&](comm::Communicator& ranks) {
    CountedReadings world(ranks);
    (void)pretrain(config, world);
    EXPECT_EQ(world.num_readings, 2);
  });
}

TEST_F(RunsThatReadTogether, BeginFromNoDamagedCheckpoint) {
  const testing::OneByteChanged damage(checkpoints() / "step-000004" / "model.safetensors");
  config::Config config = config_;
  config.run.from = (checkpoints() / "step-000004").string();
  config.run.dir = (tiny_.folder / "other").string();
  EXPECT_THAT(
      [&] {
        comm::run_ranks(2, [&](comm::Communicator& world) { (void)pretrain(config, world); });
      },
      ThrowsMessage<DataError>(HasSubstr("model.safetensors: its checksum differs")));
}

}  // namespace
}  // namespace switchyard::train
