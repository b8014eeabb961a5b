#include "switchyard/checkpoint/share.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "checkpoint/saved_step.h"
#include "support/one_byte_changed.h"
#include "support/temporary_folder.h"
#include "switchyard/core/error.h"

namespace switchyard::checkpoint {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

TEST(DamagedFileInShare, IsFoundByOneProcess) {
  const testing::TemporaryFolder folder;
  const fs::path step = testing::save_step(folder.path(), 5);
  for (const std::int64_t num_parts : {1, 2, 3, 9}) {
    for (const auto& entry : fs::directory_iterator(step)) {
      const std::string name = entry.path().filename().string();
      if (name == "manifest.json") continue;
      const testing::OneByteChanged damage(entry.path());
      EXPECT_FALSE(reads_as_written(step, name));
      int num_found = 0;
      for (std::int64_t part = 0; part < num_parts; ++part) {
        const std::string found = damaged_file_in_share(step, part, num_parts);
        if (found.empty()) continue;
        ++num_found;
        EXPECT_EQ(found, name);
      }
      EXPECT_EQ(num_found, 1) << name << " of " << num_parts << " parts";
    }
    for (std::int64_t part = 0; part < num_parts; ++part) {
      EXPECT_EQ(damaged_file_in_share(step, part, num_parts), "");
    }
  }
  EXPECT_TRUE(reads_as_written(step, "model.safetensors"));
  EXPECT_THROW((void)damaged_file_in_share(step, 2, 2), InternalError);
}

// The two largest files are read by two processes.
TEST(DamagedFileInShare, IsSoughtInAboutAsManyBytes) {
  const testing::TemporaryFolder folder;
  const fs::path step = testing::save_step(folder.path(), 5);
  std::vector<std::string> found;
  for (const char* file : {"model.safetensors", "optimizer.safetensors"}) {
    const testing::OneByteChanged damage(step / file);
    found.push_back(damaged_file_in_share(step, 0, 2));
  }
  EXPECT_NE(found[0].empty(), found[1].empty());
}

// A process that does not see what the others see must not have a sound checkpoint set aside.
TEST(DamagedFileInShare, IsNotWhatThisProcessDoesNotSee) {
  const testing::TemporaryFolder folder;
  const fs::path step = testing::save_step(folder.path(), 5);
  fs::remove(step / "model.safetensors");
  for (std::int64_t part = 0; part < 3; ++part) {
    EXPECT_THROW((void)damaged_file_in_share(step, part, 3), DataError);
  }
}

TEST(OpenStep, BelievesWhoHasReadTheFiles) {
  const testing::TemporaryFolder folder;
  const fs::path step = testing::save_step(folder.path(), 5);
  const testing::OneByteChanged damage(step / "model.safetensors");
  std::vector<fs::path> asked;
  const ReadContents all_well = [&](const fs::path& each) {
    asked.push_back(each);
    return std::string();
  };
  EXPECT_EQ(Checkpoint::open_step(step, all_well).step(), 5);
  EXPECT_THAT(asked, ::testing::ElementsAre(step));
  EXPECT_THAT(
      [&] { (void)Checkpoint::open(step, [](const fs::path&) { return "tokenizer.json"; }); },
      ThrowsMessage<DataError>(HasSubstr("tokenizer.json: its checksum differs")));
  EXPECT_THROW((void)Checkpoint::open_step(step), DataError);
}

}  // namespace
}  // namespace switchyard::checkpoint
