#include "switchyard/checkpoint/write_plan.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "support/counting_allocator.h"
#include "support/temporary_folder.h"
#include "switchyard/checkpoint/tensor_files.h"
#include "switchyard/core/error.h"

namespace switchyard::checkpoint {
namespace {

namespace fs = std::filesystem;
using testing::CountingAllocator;
using ::testing::ElementsAre;

std::vector<std::string> names_in(const WritePlan& plan) {
  std::vector<std::string> names;
  for (const PlannedFile& file : plan) names.push_back(file.name);
  return names;
}

TEST(WritePlan, EachKindThatHasTensorsIsOneFileOfOneWriter) {
  const std::vector<NamedTensor> some = {{"a", at::arange(3, at::kFloat)}};
  EXPECT_THAT(names_in(one_file_per_kind({.weights = some})), ElementsAre("model.safetensors"));
  const WritePlan plan =
      one_file_per_kind({.weights = some, .router_state = some, .optimizer = some});
  EXPECT_THAT(names_in(plan), ElementsAre("model.safetensors", "router_state.safetensors",
                                          "optimizer.safetensors"));
  for (const PlannedFile& file : plan) EXPECT_EQ(file.writer, 0) << file.name;
}

TEST(WritePlan, EveryWriterWritesItsFilesAndTogetherTheyAreTheSet) {
  const testing::TemporaryFolder folder;
  const WritePlan plan = {{.name = "model-00001-of-00002.safetensors",
                           .writer = 0,
                           .parts = {{"a", at::arange(5, at::kFloat)}}},
                          {.name = "model-00002-of-00002.safetensors",
                           .writer = 1,
                           .parts = {{"b", at::arange(7, at::kDouble)}}}};
  const auto first = write_files_of(0, plan, folder.path());
  ASSERT_EQ(first.size(), 1U);
  EXPECT_TRUE(first.contains("model-00001-of-00002.safetensors"));
  EXPECT_FALSE(fs::exists(folder / "model-00002-of-00002.safetensors"));
  const auto second = write_files_of(1, plan, folder.path());
  ASSERT_EQ(second.size(), 1U);
  for (const auto& written : {first, second}) {
    for (const auto& [name, digest] : written) {
      EXPECT_EQ(digest.bytes, fs::file_size(folder / name));
      EXPECT_EQ(digest.xxh3, xxh3_of_file(folder / name));
    }
  }
  const auto copies = TensorFiles("set", {folder / plan[0].name, folder / plan[1].name}).copies();
  EXPECT_TRUE(at::equal(copies.at("a"), at::arange(5, at::kFloat)));
  EXPECT_TRUE(at::equal(copies.at("b"), at::arange(7, at::kDouble)));
}

TEST(WritePlan, OneFileTwiceIsABug) {
  const testing::TemporaryFolder folder;
  const PlannedFile file = {.name = "x", .parts = {{"a", at::arange(5, at::kFloat)}}};
  EXPECT_THROW((void)write_files_of(0, {file, file}, folder.path()), InternalError);
}

TEST(WritePlan, TensorsOfTheHostAreWrittenWithoutACopyOfThem) {
  const testing::TemporaryFolder folder;
  const at::Tensor large = at::arange(std::int64_t{16} << 20, at::kFloat);
  const WritePlan plan = one_file_per_kind({.weights = {{"large", large}}});
  const CountingAllocator counter;
  const std::int64_t before = CountingAllocator::live_bytes;
  CountingAllocator::peak_bytes = before;
  (void)write_files_of(0, plan, folder.path());
  EXPECT_LE(CountingAllocator::peak_bytes - before, static_cast<std::int64_t>(kStagingBytes));
}

}  // namespace
}  // namespace switchyard::checkpoint
