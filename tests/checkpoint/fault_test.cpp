// Saving and removing under death and errors at every single file call.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "checkpoint/saved_step.h"
#include "support/file_faults.h"
#include "support/one_byte_changed.h"
#include "support/temporary_folder.h"
#include "switchyard/checkpoint/checkpoint.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"

namespace switchyard::checkpoint {
namespace {

namespace fs = std::filesystem;
using ::testing::Contains;
using testing::file_faults;
using testing::FileFaults;
using ::testing::HasSubstr;

class CheckpointFault : public ::testing::Test {
 protected:
  static CheckpointTensors tensors(std::int64_t step) {
    return {.weights = {{"model.norm.weight", at::arange(600, at::kFloat) + step}},
            .router_state = {{"model.layers.0.moe.router.p", at::arange(1, at::kFloat)}},
            .optimizer = {{"model.norm.weight.exp_avg", at::arange(600, at::kFloat) * step}}};
  }
  static SaveRequest request(std::int64_t step) {
    SaveRequest result = testing::small_request(step, tensors(step));
    result.training_state = "{}\n";
    return result;
  }

  void start_afresh() const {
    fs::remove_all(checkpoints_);
    save(checkpoints_, request(5));
  }

  static std::vector<std::string> calls_of(const std::function<void()>& action) {
    file_faults = {.kind = FileFaults::Kind::count};
    action();
    std::vector<std::string> seen = std::move(file_faults.seen);
    file_faults = {};
    return seen;
  }

  void expect_whole(const Checkpoint& checkpoint) const {
    const CheckpointTensors saved = tensors(checkpoint.step());
    EXPECT_TRUE(
        at::equal(checkpoint.weights().copies().at("model.norm.weight"), saved.weights[0].tensor));
    EXPECT_TRUE(at::equal(checkpoint.optimizer().copies().at("model.norm.weight.exp_avg"),
                          saved.optimizer[0].tensor));
    EXPECT_EQ(checkpoint.training_state(), request(checkpoint.step()).training_state);
  }

  testing::TemporaryFolder run_;
  fs::path checkpoints_ = run_ / "checkpoints";
};

TEST_F(CheckpointFault, KilledAtAnyFileCallOfASaveTheRunStillHasTheOldOrTheNewCheckpoint) {
  bool seen_old = false;
  bool seen_new = false;
  const SaveRequest next = request(10);
  int at = 0;
  for (start_afresh(); testing::dies_at_call(at, [&] { save(checkpoints_, next); });
       start_afresh(), ++at) {
    SCOPED_TRACE("killed at call " + std::to_string(at));
    const NewestSound newest = open_newest_sound(checkpoints_);
    ASSERT_TRUE(newest.checkpoint.has_value());
    EXPECT_TRUE(newest.damaged.empty());
    expect_whole(*newest.checkpoint);
    // Whichever way it is asked for.
    expect_whole(Checkpoint::open(run_.path()));
    seen_old = seen_old || newest.checkpoint->step() == 5;
    seen_new = seen_new || newest.checkpoint->step() == 10;
    // What is left over is no step and goes away.
    EXPECT_EQ(steps_in(checkpoints_).size(), newest.checkpoint->step() == 5 ? 1U : 2U);
    remove_unfinished(checkpoints_);
    for (const auto& entry : fs::directory_iterator(checkpoints_)) {
      EXPECT_FALSE(entry.path().filename().string().starts_with(".")) << entry.path();
    }
    EXPECT_NO_THROW(save(checkpoints_, request(15)));
    EXPECT_EQ(Checkpoint::open(run_.path()).step(), 15);
  }
  EXPECT_GT(at, 30);  // seven files, each written, synced and renamed
  EXPECT_TRUE(seen_old);
  EXPECT_TRUE(seen_new);
}

TEST_F(CheckpointFault, KilledAtAnyFileCallOfARemovalTheStepIsThereOrGone) {
  bool seen_there = false;
  bool seen_gone = false;
  int at = 0;
  const auto start = [&] {
    start_afresh();
    save(checkpoints_, request(10));
  };
  for (start(); testing::dies_at_call(at, [&] { remove_step(checkpoints_ / "step-000005"); });
       start(), ++at) {
    const std::vector<fs::path> steps = steps_in(checkpoints_);
    for (const fs::path& step : steps) expect_whole(Checkpoint::open(step));
    (steps.size() == 2 ? seen_there : seen_gone) = true;
    remove_unfinished(checkpoints_);
    EXPECT_EQ(Checkpoint::open(run_.path()).step(), 10);
  }
  EXPECT_GT(at, 5);
  EXPECT_TRUE(seen_there);
  EXPECT_TRUE(seen_gone);
  EXPECT_EQ(steps_in(checkpoints_).size(), 1U);
}

TEST_F(CheckpointFault, AnErrorOfAnyFileCallLeavesTheOldCheckpointAndNoRemains) {
  start_afresh();
  const std::vector<std::string> calls = calls_of([&] { save(checkpoints_, request(10)); });
  EXPECT_THAT(calls, Contains("fsync"));
  for (std::size_t at = 0; at < calls.size(); ++at) {
    SCOPED_TRACE("error from call " + std::to_string(at) + ", " + calls[at]);
    start_afresh();
    file_faults = {.kind = FileFaults::Kind::error,
                   .at = static_cast<int>(at),
                   .error_number = calls[at] == "fsync" ? EIO : ENOSPC};
    EXPECT_THROW(save(checkpoints_, request(10)), StorageError);
    file_faults = {};
    for (const auto& entry : fs::directory_iterator(checkpoints_)) {
      const std::string name = entry.path().filename().string();
      EXPECT_TRUE(name == "LATEST" || name.starts_with("step-")) << name;
    }
    for (const fs::path& step : steps_in(checkpoints_)) expect_whole(Checkpoint::open(step));
    EXPECT_THAT(steps_in(checkpoints_), Contains(checkpoints_ / "step-000005"));
    expect_whole(Checkpoint::open(run_.path()));
  }
}

TEST_F(CheckpointFault, AFullDiskIsNamedWithWhatToDo) {
  start_afresh();
  const std::vector<std::string> calls = calls_of([&] { save(checkpoints_, request(10)); });
  const auto first_write = std::find(calls.begin(), calls.end(), "write");
  start_afresh();
  file_faults = {.kind = FileFaults::Kind::error,
                 .at = static_cast<int>(first_write - calls.begin()),
                 .error_number = ENOSPC};
  try {
    save(checkpoints_, request(10));
    ADD_FAILURE() << "the error was ignored";
  } catch (const StorageError& error) {
    EXPECT_THAT(error.what(), HasSubstr("No space left on device"));
    EXPECT_THAT(error.hint(), HasSubstr("free some space"));
  }
  file_faults = {};
}

TEST_F(CheckpointFault, WritesThatStopHalfWayAreContinued) {
  file_faults = {.kind = FileFaults::Kind::short_writes};
  save(checkpoints_, request(5));
  file_faults = {};
  expect_whole(Checkpoint::open(run_.path()));
}

TEST_F(CheckpointFault, ABitThatTheDiskDidNotKeepIsFoundBeforeTheCheckpointGetsItsName) {
  start_afresh();
  const std::vector<std::string> calls = calls_of([&] { save(checkpoints_, request(10)); });
  const auto last_rename = std::find(calls.rbegin(), calls.rend(), "rename");
  // LATEST is written last, when the checkpoint has its name.
  const auto last_write = std::find(last_rename, calls.rend(), "write");
  const auto end = calls.rend() - last_write - 1;
  int num_flipped = 0;
  for (std::ptrdiff_t at = 0; at < end; ++at) {
    if (calls[static_cast<std::size_t>(at)] != "write") continue;
    SCOPED_TRACE("bit flipped in call " + std::to_string(at));
    ++num_flipped;
    start_afresh();
    file_faults = {.kind = FileFaults::Kind::flipped_bit, .at = static_cast<int>(at)};
    try {
      save(checkpoints_, request(10));
      ADD_FAILURE() << "a damaged file was taken for whole";
    } catch (const StorageError& error) {
      EXPECT_THAT(error.what(), HasSubstr("what was written does not read back"));
    }
    file_faults = {};
    EXPECT_EQ(steps_in(checkpoints_).size(), 1U);
    expect_whole(Checkpoint::open(run_.path()));
  }
  EXPECT_EQ(num_flipped, 7);  // as many files
}

// Row 2: any damage to any file of the newest.
TEST_F(CheckpointFault, ADamagedNewestCheckpointFallsBackToTheOneBeforeAndNamesTheFile) {
  const auto overwrite = [](const fs::path& path, const std::string& bytes) {
    std::ofstream(path, std::ios::binary) << bytes;
  };
  start_afresh();
  const fs::path folder = save(checkpoints_, request(10));
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder)) files.push_back(entry.path());
  EXPECT_EQ(files.size(), 7U);
  for (const fs::path& file : files) {
    const std::string good = read_file(file);
    const auto expect_fallback = [&](const char* what) {
      SCOPED_TRACE(file.filename().string() + " " + what);
      const NewestSound newest = open_newest_sound(checkpoints_);
      ASSERT_TRUE(newest.checkpoint.has_value());
      EXPECT_EQ(newest.checkpoint->step(), 5);
      ASSERT_EQ(newest.damaged.size(), 1U);
      EXPECT_EQ(newest.damaged[0].folder, folder);
      EXPECT_THAT(newest.damaged[0].reason, HasSubstr(file.filename().string()));
    };
    fs::remove(file);
    expect_fallback("is missing");
    overwrite(file, good.substr(0, good.size() / 2));
    expect_fallback("is truncated");
    overwrite(file, good);
    testing::change_one_byte(file);
    expect_fallback("has a flipped bit");
    overwrite(file, good);
    EXPECT_EQ(open_newest_sound(checkpoints_).checkpoint->step(), 10);
  }
}

TEST_F(CheckpointFault, WhenNoCheckpointIsSoundEveryReasonIsListedAndNothingIsTouched) {
  start_afresh();
  save(checkpoints_, request(10));
  fs::remove(checkpoints_ / "step-000005/model.safetensors");
  fs::remove(checkpoints_ / "step-000010/optimizer.safetensors");
  try {
    (void)open_newest_sound(checkpoints_);
    ADD_FAILURE() << "a damaged checkpoint was taken";
  } catch (const DataError& error) {
    EXPECT_THAT(error.what(), HasSubstr("step-000005/model.safetensors: missing"));
    EXPECT_THAT(error.what(), HasSubstr("step-000010/optimizer.safetensors: missing"));
  }
  EXPECT_EQ(steps_in(checkpoints_).size(), 2U);
}

TEST_F(CheckpointFault, ARenamedStepIsNotTakenForAnotherOne) {
  start_afresh();
  fs::rename(checkpoints_ / "step-000005", checkpoints_ / "step-000050");
  EXPECT_THROW((void)open_newest_sound(checkpoints_), DataError);
  EXPECT_THROW((void)Checkpoint::open(checkpoints_ / "step-000050/"), DataError);
  fs::rename(checkpoints_ / "step-000050", run_ / "elsewhere");  // any other name is fine
  EXPECT_EQ(Checkpoint::open(run_ / "elsewhere").step(), 5);
}

TEST_F(CheckpointFault, AFolderThatCannotBeReadIsNoEmptyFolder) {
  EXPECT_TRUE(steps_in(checkpoints_).empty());  // not there
  std::ofstream(checkpoints_) << "a file";
  EXPECT_THROW((void)steps_in(checkpoints_), StorageError);
  EXPECT_THROW((void)open_newest_sound(checkpoints_), StorageError);
}

TEST_F(CheckpointFault, AStepThatIsSetAsideIsNoLongerOneAndIsNotLost) {
  start_afresh();
  const fs::path first = set_aside(checkpoints_ / "step-000005", kDamaged);
  EXPECT_EQ(first.filename(), "step-000005.damaged");
  save(checkpoints_, request(5));
  EXPECT_EQ(set_aside(checkpoints_ / "step-000005", kDamaged).filename(), "step-000005.damaged-2");
  EXPECT_TRUE(steps_in(checkpoints_).empty());
  EXPECT_TRUE(fs::exists(first / "model.safetensors"));
  EXPECT_FALSE(open_newest_sound(checkpoints_).checkpoint.has_value());
}

TEST_F(CheckpointFault, AFolderInThePlaceOfAPointerIsNamed) {
  fs::create_directories(checkpoints_ / "LATEST/x");
  try {
    point_at(checkpoints_ / "step-000005", kLatest);
    FAIL() << "the pointer was written";
  } catch (const StorageError& error) {
    EXPECT_THAT(error.what(), HasSubstr("LATEST is a folder"));
    EXPECT_THAT(error.hint(), HasSubstr("move that folder"));
  }
  EXPECT_TRUE(fs::exists(checkpoints_ / "LATEST/x"));
}

}  // namespace
}  // namespace switchyard::checkpoint
