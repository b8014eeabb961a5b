#include "train/run/checkpoint_keeper.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "support/temporary_folder.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"

namespace switchyard::train {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

checkpoint::SaveRequest request(std::int64_t step) {
  checkpoint::SaveRequest result;
  result.step = step;
  result.plan = checkpoint::one_file_per_kind(
      {.weights = {{"model.norm.weight", at::arange(4, at::kFloat)}}});
  result.tokenizer_file = "tokenizer.json";
  result.tokenizer_bytes = "{}\n";
  result.resolved_config = "{}\n";
  return result;
}

class KeeperTest : public ::testing::Test {
 protected:
  // A file where the folder should be: every save fails.
  void block() { std::ofstream(folder_ / "checkpoints") << "x"; }
  void unblock() { fs::remove(folder_ / "checkpoints"); }
  [[nodiscard]] bool holds(const char* step) const {
    return fs::exists(folder_ / "checkpoints" / step / "manifest.json");
  }

  // And the step after it comes out finite.
  void save_and_confirm(std::int64_t step) {
    keeper_.save(request(step));
    keeper_.confirm(step);
  }

  testing::TemporaryFolder folder_;
  CheckpointKeeper keeper_{folder_ / "checkpoints", 2};
};

TEST_F(KeeperTest, OneFailedSaveIsNoReasonToStopAndTheThirdInARowIs) {
  block();
  EXPECT_NO_THROW(keeper_.save(request(1)));
  EXPECT_THROW(keeper_.check_last_save(), StorageError);
  EXPECT_NO_THROW(keeper_.save(request(2)));
  EXPECT_EQ(keeper_.last_step(), -1);
  EXPECT_THROW(keeper_.save(request(3)), StorageError);
}

TEST_F(KeeperTest, ASaveThatWorksForgetsTheFailuresBefore) {
  block();
  keeper_.save(request(1));
  keeper_.save(request(2));
  unblock();
  keeper_.save(request(3));
  EXPECT_NO_THROW(keeper_.check_last_save());
  EXPECT_EQ(keeper_.last_step(), 3);
  fs::remove_all(folder_ / "checkpoints");
  block();
  EXPECT_NO_THROW(keeper_.save(request(4)));
  EXPECT_NO_THROW(keeper_.save(request(5)));
}

TEST_F(KeeperTest, KeepsTheNewestAndTheBest) {
  for (const std::int64_t step : {1, 2, 3, 4, 5}) {
    save_and_confirm(step);
    if (step == 2) keeper_.mark_best();
  }
  EXPECT_FALSE(holds("step-000001"));
  EXPECT_TRUE(holds("step-000002"));
  EXPECT_FALSE(holds("step-000003"));
  EXPECT_TRUE(holds("step-000004"));
  EXPECT_TRUE(holds("step-000005"));
  keeper_.mark_best();  // the step saved last
  EXPECT_FALSE(holds("step-000002"));
  EXPECT_EQ(keeper_.best(), folder_ / "checkpoints/step-000005");
}

TEST_F(KeeperTest, RemovesNothingWhileItDoesNotKnowWhichIsTheBest) {
  keeper_.save(request(1));
  keeper_.mark_best();
  write_file_atomically(folder_ / "checkpoints" / checkpoint::kBest, "../elsewhere\n");
  for (const std::int64_t step : {2, 3, 4}) save_and_confirm(step);
  EXPECT_TRUE(holds("step-000001"));
  EXPECT_EQ(keeper_.best(), fs::path());
  keeper_.mark_best();  // a new pointer takes the damaged one's place
  EXPECT_FALSE(holds("step-000001"));
  EXPECT_EQ(keeper_.best(), folder_ / "checkpoints/step-000004");
}

// A disk or a server that fails for a moment: steps are trained and saved all the same.
TEST_F(KeeperTest, AFolderThatCannotBeReadWhenOldOnesAreRemovedEndsNothing) {
  for (const std::int64_t step : {1, 2, 3}) keeper_.save(request(step));
  const fs::path best = folder_ / "checkpoints" / checkpoint::kBest;
  fs::create_symlink("/proc/self/mem", best);  // a file whose first byte cannot be read
  EXPECT_THROW((void)checkpoint::pointed_at(folder_ / "checkpoints", checkpoint::kBest),
               StorageError);
  EXPECT_NO_THROW(keeper_.confirm(3));
  EXPECT_EQ(keeper_.best(), fs::path());
  EXPECT_TRUE(holds("step-000001"));
  fs::remove(best);

  save_and_confirm(4);
  keeper_.save(request(5));
  checkpoint::SaveRequest unsound = request(6);
  unsound.is_sound = false;
  keeper_.save(unsound);
  fs::rename(folder_ / "checkpoints", folder_ / "aside");
  block();
  EXPECT_THROW((void)checkpoint::steps_in(folder_ / "checkpoints"), StorageError);
  EXPECT_THAT(keeper_.describe_saved(), HasSubstr("step-000005"));
  EXPECT_NO_THROW(keeper_.confirm(5));
  unblock();
  fs::rename(folder_ / "aside", folder_ / "checkpoints");
  EXPECT_TRUE(holds("step-000003"));
  keeper_.mark_best();
  EXPECT_FALSE(holds("step-000003"));
  EXPECT_TRUE(holds("step-000004"));
}

TEST_F(KeeperTest, UnfinishedFoldersDoNotCountAmongTheKept) {
  keeper_.save(request(1));
  fs::create_directories(folder_ / "checkpoints/step-000002");  // without a manifest
  fs::create_directories(folder_ / "checkpoints/.step-000003.77.tmp");
  save_and_confirm(4);
  EXPECT_TRUE(holds("step-000001"));
  EXPECT_TRUE(holds("step-000004"));
  EXPECT_FALSE(fs::exists(folder_ / "checkpoints/.step-000003.77.tmp"));
}

TEST_F(KeeperTest, UnsoundCheckpointsCostNoSoundOneItsPlace) {
  for (const std::int64_t step : {1, 2}) save_and_confirm(step);
  for (const std::int64_t step : {3, 4, 5, 6}) {
    checkpoint::SaveRequest unsound = request(step);
    unsound.is_sound = false;
    keeper_.save(unsound);
    EXPECT_EQ(keeper_.saved_step(), step);
    keeper_.confirm(step);
  }
  EXPECT_TRUE(holds("step-000001"));
  EXPECT_TRUE(holds("step-000002"));
  EXPECT_EQ(keeper_.last_step(), 2);
  EXPECT_THAT(keeper_.describe_saved(),
              AllOf(HasSubstr("step-000006.unsound"), HasSubstr("step-000002")));
}

// The update that was saved may be what ruined them.
TEST_F(KeeperTest, ASoundCheckpointThatNoLossHasConfirmedIsSaidToBeSo) {
  for (const std::int64_t step : {1, 2}) keeper_.save(request(step));
  keeper_.confirm(1);
  checkpoint::SaveRequest unsound = request(3);
  unsound.is_sound = false;
  keeper_.save(unsound);
  EXPECT_THAT(keeper_.describe_saved(),
              HasSubstr("step-000002, with which no loss was finite yet; --from 1 goes further"));
  keeper_.confirm(2);
  EXPECT_THAT(keeper_.describe_saved(), HasSubstr("step-000002)"));
}

// They were finite, but no loss has been computed with them yet.
TEST_F(KeeperTest, ACheckpointDisplacesNoOtherBeforeItsWeightsHaveShownThatTheyWork) {
  for (const std::int64_t step : {1, 2, 3}) keeper_.save(request(step));
  keeper_.confirm(2);
  EXPECT_TRUE(holds("step-000001"));
  keeper_.confirm(3);
  EXPECT_FALSE(holds("step-000001"));
  EXPECT_TRUE(holds("step-000002"));
}

TEST_F(KeeperTest, ACheckpointThatComesLateHasShownThatItsWeightsWorkAlready) {
  for (const std::int64_t step : {1, 2, 3}) keeper_.save(request(step));
  keeper_.confirm(7);
  keeper_.save(request(6));
  EXPECT_FALSE(holds("step-000002"));
  EXPECT_TRUE(holds("step-000003"));
  keeper_.save(request(9));
  EXPECT_TRUE(holds("step-000003"));
}

TEST_F(KeeperTest, TheClockAsksForACheckpointEveryTenMinutesOrSeldomerWhereASaveTakesLong) {
  double now = 0.0;
  double seconds_a_look = 0.0;
  CheckpointKeeper keeper(folder_ / "checkpoints", 2, [&] { return now += seconds_a_look; });
  now = 599.0;
  EXPECT_FALSE(keeper.is_due());
  now = 600.0;
  EXPECT_TRUE(keeper.is_due());
  seconds_a_look = 20.0;  // the save begins and ends with a look at the clock
  keeper.save(request(1));
  seconds_a_look = 0.0;
  now += 999.0;
  EXPECT_FALSE(keeper.is_due());
  now += 1.0;
  EXPECT_TRUE(keeper.is_due());
}

TEST_F(KeeperTest, RefusesADiskThatCannotHoldTwoCheckpoints) {
  fs::create_directories(folder_ / "checkpoints");
  EXPECT_NO_THROW(keeper_.check_free_space(checkpoint::bytes_of(request(1).plan)));
  // An exabyte, of which one element is there.
  const std::uint64_t huge = checkpoint::bytes_of(checkpoint::one_file_per_kind(
      {.optimizer = {{"large", at::empty({1}, at::kFloat).expand({std::int64_t{1} << 58})}}}));
  EXPECT_EQ(huge, std::uint64_t{1} << 60);
  try {
    keeper_.check_free_space(huge);
    ADD_FAILURE() << "would have started";
  } catch (const StorageError& error) {
    EXPECT_THAT(error.what(), HasSubstr("a checkpoint takes about"));
    EXPECT_THAT(error.hint(), HasSubstr("run.dir"));
  }
}

TEST_F(KeeperTest, OneSlowSavePostponesTheNextByAnHourAtMostAndThenTheFasterOfTwoCounts) {
  double now = 0.0;
  double seconds_a_look = 0.0;
  CheckpointKeeper keeper(folder_ / "checkpoints", 2, [&] { return now += seconds_a_look; });
  const auto save = [&](std::int64_t step, double seconds) {
    seconds_a_look = seconds;  // the save begins and ends with a look at the clock
    keeper.save(request(step));
    seconds_a_look = 0.0;
  };
  const auto is_due_after = [&](double seconds) {
    const double start = now;
    now = start + seconds - 1.0;
    const bool is_early = keeper.is_due();
    now = start + seconds;
    return !is_early && keeper.is_due();
  };
  save(1, 500.0);
  EXPECT_TRUE(is_due_after(3600.0));
  save(2, 20.0);
  EXPECT_TRUE(is_due_after(1000.0));
  save(3, 500.0);
  EXPECT_TRUE(is_due_after(1000.0)) << "the disk was slow once";
  save(4, 100.0);
  EXPECT_TRUE(is_due_after(5000.0)) << "it is slow";
}

// Whatever keeps it from being looked at, it may name the best.
TEST_F(KeeperTest, AnUnreadableBestIsNoReasonToRemoveIt) {
  fs::create_directories(folder_ / "checkpoints");
  fs::create_symlink("BEST", folder_ / "checkpoints/BEST");  // a loop: no system can follow it
  EXPECT_THROW((void)checkpoint::pointed_at(folder_ / "checkpoints", checkpoint::kBest),
               StorageError);
  for (const std::int64_t step : {1, 2, 3, 4}) save_and_confirm(step);
  EXPECT_TRUE(holds("step-000001"));
  fs::remove(folder_ / "checkpoints/BEST");
  save_and_confirm(5);
  EXPECT_FALSE(holds("step-000001"));
  EXPECT_TRUE(holds("step-000004"));
}

TEST_F(KeeperTest, FailuresThatAreForgivenCountNoMore) {
  block();
  keeper_.save(request(1));
  keeper_.save(request(2));
  keeper_.forgive();
  EXPECT_NO_THROW(keeper_.save(request(3)));
  EXPECT_THROW(keeper_.check_last_save(), StorageError);
}

}  // namespace
}  // namespace switchyard::train
