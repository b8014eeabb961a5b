#include "switchyard/checkpoint/checkpoint.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/manifest.h"
#include "checkpoint/saved_step.h"
#include "support/temporary_folder.h"
#include "switchyard/config/folders.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"
#include "switchyard/core/hash.h"

namespace switchyard::checkpoint {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;
using ::testing::UnorderedElementsAre;

// Without the syncs of write_file_atomically: many files are damaged one byte at a time.
void overwrite(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

class CheckpointTest : public ::testing::Test {
 protected:
  static CheckpointTensors tensors(std::int64_t step) {
    CheckpointTensors result;
    result.weights = {{"model.embed_tokens.weight", at::arange(12, at::kFloat).view({3, 4}) + step},
                      {"lm_head.weight", at::arange(6, at::kDouble).view({2, 3}) / 3}};
    result.router_state = {{"model.layers.0.moe.router.p", at::arange(1, at::kFloat) + 0.4}};
    return result;
  }
  static SaveRequest request(std::int64_t step) { return request(step, tensors(step)); }
  static SaveRequest request(std::int64_t step, CheckpointTensors tensors) {
    SaveRequest result = testing::small_request(step, std::move(tensors));
    result.environment = {{"version", "test"}};
    return result;
  }
  static std::vector<std::string> names_in(const fs::path& folder) {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder)) {
      names.push_back(entry.path().filename().string());
    }
    return names;
  }
  void expect_refused(const fs::path& path, const std::string& message) const {
    EXPECT_THAT([&] { (void)Checkpoint::open(path); },
                ThrowsMessage<DataError>(HasSubstr(message)));
  }
  // Rewrites the manifest so that it agrees with a file that was changed.
  static void approve(const fs::path& folder, const std::string& file, const std::string& bytes) {
    std::string manifest = read_file(folder / "manifest.json");
    const std::string old_hash = xxh3_of_file(folder / file);
    const std::string old_size = std::to_string(fs::file_size(folder / file));
    const auto entry = manifest.find("\"" + file + "\": {");
    overwrite(folder / file, bytes);
    const auto size_at = manifest.find(old_size, entry);
    manifest.replace(size_at, old_size.size(), std::to_string(bytes.size()));
    manifest.replace(manifest.find(old_hash, entry), old_hash.size(), to_hex(xxh3(bytes)));
    overwrite_manifest(folder, manifest);
  }
  // With a right checksum of its own.
  static void overwrite_manifest(const fs::path& folder, const std::string& text) {
    overwrite(folder / "manifest.json", manifest_text(format::parse_json(text, "manifest")));
  }

  testing::TemporaryFolder run_;
  fs::path checkpoints_ = run_ / "checkpoints";
};

TEST_F(CheckpointTest, WhatWasSavedIsReadBackBitForBit) {
  const SaveRequest saved = request(500);
  const CheckpointTensors saved_tensors = tensors(500);
  const fs::path folder = save(checkpoints_, saved);
  EXPECT_EQ(folder, checkpoints_ / "step-000500");
  const Checkpoint checkpoint = Checkpoint::open(folder);
  EXPECT_EQ(checkpoint.step(), 500);
  const auto weights = checkpoint.weights().copies();
  ASSERT_EQ(weights.size(), 2U);
  for (const NamedTensor& named : saved_tensors.weights) {
    EXPECT_TRUE(at::equal(weights.at(named.name), named.tensor)) << named.name;
    EXPECT_EQ(weights.at(named.name).scalar_type(), named.tensor.scalar_type());
  }
  EXPECT_TRUE(at::equal(checkpoint.router_state().copies().at("model.layers.0.moe.router.p"),
                        saved_tensors.router_state[0].tensor));
  EXPECT_TRUE(checkpoint.optimizer().tensors().empty());
  EXPECT_EQ(read_file(checkpoint.tokenizer()), saved.tokenizer_bytes);
  EXPECT_EQ(read_file(checkpoint.config()), saved.resolved_config);
  EXPECT_THAT(read_file(folder / "manifest.json"), HasSubstr("\"version\": \"test\""));
}

TEST_F(CheckpointTest, TheManifestSaysOfEveryFileWhatTheFileIs) {
  const fs::path folder = save(checkpoints_, request(500));
  const auto files =
      format::parse_json(read_file(folder / "manifest.json"), "manifest").at("files");
  ASSERT_EQ(files.size(), 4U);
  for (const auto& [name, entry] : files.items()) {
    EXPECT_EQ(entry.at("xxh3").get<std::string>(), xxh3_of_file(folder / name)) << name;
    EXPECT_EQ(entry.at("bytes").get<std::uint64_t>(), fs::file_size(folder / name)) << name;
  }
}

TEST_F(CheckpointTest, ShardsThatTheManifestListsAreReadAsOneSet) {
  SaveRequest sharded = request(5);
  sharded.plan = {
      {.name = "model-00001-of-00002.safetensors", .parts = {{"a", at::arange(3, at::kFloat)}}},
      {.name = "model-00002-of-00002.safetensors",
       .parts = {{"b", at::arange(2, at::kFloat) + 7}}}};
  save(checkpoints_, sharded);
  const auto weights = Checkpoint::open(run_.path()).weights().copies();
  ASSERT_EQ(weights.size(), 2U);
  EXPECT_TRUE(at::equal(weights.at("a"), sharded.plan[0].parts[0].tensor));
  EXPECT_TRUE(at::equal(weights.at("b"), sharded.plan[1].parts[0].tensor));
}

TEST_F(CheckpointTest, AManifestThatListsNotAllShardsOrOtherOnesIsRefused) {
  const auto expect_refused_with = [this](std::vector<std::string> names,
                                          const std::string& message) {
    SaveRequest sharded = request(5);
    sharded.plan.clear();
    for (const std::string& name : names) {
      sharded.plan.push_back({.name = name, .parts = {{name, at::arange(3, at::kFloat)}}});
    }
    try {
      save(checkpoints_, sharded);
      ADD_FAILURE() << "a set of shards that is not whole was saved";
    } catch (const StorageError& error) {
      EXPECT_THAT(error.what(), HasSubstr(message));
    }
  };
  expect_refused_with({"model-00001-of-00002.safetensors"}, "lists 1 of 2 shards of model");
  expect_refused_with({"model-00001-of-00002.safetensors", "model-000001-of-00002.safetensors"},
                      "belongs to no set of shards");
  expect_refused_with({"model-00001-of-00002.safetensors", "model-00002-of-00003.safetensors"},
                      "belongs to no set of shards");
  expect_refused_with({"model-00002-of-00001.safetensors"}, "belongs to no set of shards");
  expect_refused_with({"model.safetensors", "model-00001-of-00001.safetensors"},
                      "beside the whole file");
  expect_refused_with({"model-1-of-1.safetensors"}, "does not list 'model.safetensors'");
  expect_refused_with({"model-.safetensors"}, "does not list 'model.safetensors'");
}

TEST_F(CheckpointTest, TensorsMayHaveAnyStridesAndShapes) {
  CheckpointTensors odd;
  odd.weights = {{"transposed", at::arange(6, at::kFloat).view({2, 3}).t()},
                 {"scalar", at::arange(1, at::kFloat)[0]},
                 {"empty", at::empty({0, 5}, at::kFloat)},
                 {"with_gradient", at::arange(3, at::kFloat).requires_grad_(true)}};
  save(checkpoints_, request(1, odd));
  const Checkpoint checkpoint = Checkpoint::open(checkpoints_);
  const auto weights = checkpoint.weights().copies();
  for (const NamedTensor& named : odd.weights) {
    EXPECT_TRUE(at::equal(weights.at(named.name), named.tensor)) << named.name;
  }
  EXPECT_FALSE(weights.at("with_gradient").requires_grad());
  EXPECT_TRUE(checkpoint.router_state().tensors().empty());
}

TEST_F(CheckpointTest, OtherTypesThanFp32AndFp64AreABug) {
  CheckpointTensors wrong = tensors(1);
  wrong.weights[0].tensor = at::arange(3, at::kLong);
  EXPECT_THROW(save(checkpoints_, request(1, wrong)), InternalError);
  EXPECT_TRUE(fs::is_empty(checkpoints_));
}

TEST_F(CheckpointTest, AnEnvironmentOfAnyBytesIsSavedAndReadBack) {
  SaveRequest saved = request(5);
  saved.environment = {{"omp_wait_policy", "a\xff\xfe"}};
  EXPECT_EQ(Checkpoint::open(save(checkpoints_, saved)).environment().at("omp_wait_policy"),
            "a\xEF\xBF\xBD\xEF\xBF\xBD");
}

TEST_F(CheckpointTest, ARunItsCheckpointsAndAStepAllOpen) {
  save(checkpoints_, request(5));
  save(checkpoints_, request(10));
  EXPECT_EQ(Checkpoint::open(run_.path()).step(), 10);
  EXPECT_EQ(Checkpoint::open(checkpoints_).step(), 10);
  EXPECT_EQ(Checkpoint::open(checkpoints_ / "step-000005").step(), 5);
  EXPECT_EQ(Checkpoint::open(run_.path().string() + "@5").step(), 5);
  EXPECT_EQ(Checkpoint::open(run_.path().string() + "@latest").step(), 10);
  EXPECT_THROW((void)Checkpoint::open(run_.path().string() + "@best"), DataError);
  point_at(checkpoints_ / "step-000005", kBest);
  EXPECT_EQ(Checkpoint::open(run_.path().string() + "@best").step(), 5);
  EXPECT_THAT(names_in(checkpoints_),
              UnorderedElementsAre("step-000005", "step-000010", "LATEST", "BEST"));
}

// LATEST may be older (its write failed), edited, or gone.
TEST_F(CheckpointTest, TheNewestFinishedOneIsTakenHoweverItIsNamedAndWhateverLatestHolds) {
  for (const std::int64_t step : {5, 999999, 1000000}) save(checkpoints_, request(step));
  fs::create_directories(checkpoints_ / "step-2000000");  // has no manifest
  for (const std::string text : {"step-000005\n", "step-000099\n", "../../etc", "", "x"}) {
    overwrite(checkpoints_ / "LATEST", text);
    for (const std::string& path :
         {run_.path().string(), run_.path().string() + "@latest", checkpoints_.string()}) {
      EXPECT_EQ(Checkpoint::open(path).step(), 1000000) << text << ", " << path;
    }
    EXPECT_EQ(config::named_checkpoint(run_.path(), "latest"), checkpoints_ / "step-1000000");
    EXPECT_EQ(open_newest_sound(checkpoints_).checkpoint->step(), 1000000);
  }
  fs::remove(checkpoints_ / "LATEST");
  EXPECT_EQ(Checkpoint::open(run_.path()).step(), 1000000);
}

TEST_F(CheckpointTest, AFolderWithoutCheckpointsIsRefused) {
  expect_refused(run_.path(), "holds no checkpoint");
  expect_refused(run_ / "absent", "holds no checkpoint");
}

TEST_F(CheckpointTest, APointerThatLeadsElsewhereIsRefused) {
  save(checkpoints_, request(5));
  for (const std::string text : {"../../etc", "step-000005/..", "", "x"}) {
    overwrite(checkpoints_ / "BEST", text);
    EXPECT_THROW((void)pointed_at(checkpoints_, kBest), DataError) << text;
    EXPECT_THROW((void)Checkpoint::open(run_.path().string() + "@best"), DataError) << text;
  }
}

TEST_F(CheckpointTest, EveryFileThatIsMissingTruncatedOrChangedIsNamed) {
  const fs::path folder = save(checkpoints_, request(5));
  for (const std::string name : {"model.safetensors", "router_state.safetensors",
                                 "config.resolved.yaml", "tokenizer.json"}) {
    const std::string good = read_file(folder / name);
    fs::remove(folder / name);
    expect_refused(folder, name + ": missing");
    overwrite(folder / name, good.substr(0, good.size() - 1));
    expect_refused(folder, name + ": " + std::to_string(good.size() - 1) + " bytes");
    for (std::size_t i = 0; i < good.size(); i += 7) {
      std::string flipped = good;
      flipped[i] = static_cast<char>(flipped[i] ^ 0x10);
      overwrite(folder / name, flipped);
      expect_refused(folder, name + ": its checksum differs");
    }
    overwrite(folder / name, good);
    EXPECT_NO_THROW((void)Checkpoint::open(folder));
  }
  fs::remove(folder / "manifest.json");
  expect_refused(folder, "holds no checkpoint");
}

TEST_F(CheckpointTest, ADamagedManifestIsRefusedAndNeverCrashes) {
  const fs::path folder = save(checkpoints_, request(5));
  const std::string good = read_file(folder / "manifest.json");
  std::size_t refused = 0;
  for (std::size_t i = 0; i < good.size(); ++i) {
    std::string flipped = good;
    flipped[i] = static_cast<char>(flipped[i] ^ 0x08);
    overwrite(folder / "manifest.json", flipped);
    try {
      (void)Checkpoint::open(folder);
    } catch (const DataError&) {
      ++refused;
    }
  }
  EXPECT_EQ(refused, good.size());
  overwrite(folder / "manifest.json", good.substr(0, good.size() / 2));
  expect_refused(folder, "manifest.json");
}

TEST_F(CheckpointTest, AManifestCannotNameFilesOutsideOrLeaveTheWeightsOut) {
  const fs::path folder = save(checkpoints_, request(5));
  const std::string good = read_file(folder / "manifest.json");
  const auto replaced = [&good](const std::string& from, const std::string& to) {
    std::string text = good;
    for (auto at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
      text.replace(at, from.size(), to);
    }
    return text;
  };
  overwrite_manifest(folder, replaced("router_state.safetensors", "../LATEST"));
  expect_refused(folder, "is no file name");
  overwrite_manifest(folder, replaced("model.safetensors", "other"));
  expect_refused(folder, "does not list 'model.safetensors'");
  overwrite_manifest(folder, replaced("\"version\": 1", "\"version\": 2"));
  expect_refused(folder, "version 2 is not known");
  // Not damage: a resume must not go back behind it.
  EXPECT_THAT([&] { (void)open_newest_sound(checkpoints_); },
              ThrowsMessage<DataError>(HasSubstr("version 2 is not known")));
}

TEST_F(CheckpointTest, AnUnlistedFileIsNotRead) {
  CheckpointTensors stateless = tensors(5);
  stateless.router_state = {};
  const fs::path folder = save(checkpoints_, request(5, stateless));
  overwrite(folder / "router_state.safetensors", "anything");
  EXPECT_TRUE(Checkpoint::open(folder).router_state().tensors().empty());
}

TEST_F(CheckpointTest, AHostileTensorFileThatTheManifestApprovesIsRefused) {
  const fs::path folder = save(checkpoints_, request(5));
  const std::string good = read_file(folder / "model.safetensors");
  approve(folder, "model.safetensors", good.substr(0, good.size() - 4));
  const Checkpoint cut = Checkpoint::open(folder);
  EXPECT_THAT([&] { (void)cut.weights(); },
              ThrowsMessage<DataError>(HasSubstr("model.safetensors")));
  std::string halves = good;
  halves.replace(halves.find("\"F64\""), 5, "\"I64\"");
  approve(folder, "model.safetensors", halves);
  const Checkpoint other_type = Checkpoint::open(folder);
  EXPECT_THAT([&] { (void)other_type.weights().copies(); },
              ThrowsMessage<DataError>(HasSubstr("'lm_head.weight' is I64")));
}

TEST_F(CheckpointTest, AStepIsNeverOverwritten) {
  const fs::path folder = save(checkpoints_, request(5));
  const std::string before = read_file(folder / "model.safetensors");
  CheckpointTensors again = tensors(5);
  again.weights[0].tensor = again.weights[0].tensor * 2;
  EXPECT_THROW(save(checkpoints_, request(5, again)), StorageError);
  EXPECT_EQ(read_file(folder / "model.safetensors"), before);
}

TEST_F(CheckpointTest, AStepWhoseLatestFailedIsSavedAgainByPointingAtIt) {
  save(checkpoints_, request(5));
  const fs::path folder = save(checkpoints_, request(10));
  overwrite(checkpoints_ / "LATEST", "step-000005\n");  // as before the last rename
  const auto written = fs::last_write_time(folder / "model.safetensors");
  EXPECT_EQ(save(checkpoints_, request(10)), folder);
  EXPECT_EQ(Checkpoint::open(run_.path()).step(), 10);
  EXPECT_EQ(fs::last_write_time(folder / "model.safetensors"), written);
  EXPECT_THAT(names_in(checkpoints_), UnorderedElementsAre("step-000005", "step-000010", "LATEST"));
}

TEST_F(CheckpointTest, ADamagedFolderOfTheStepIsKeptAsideAndTheStepSavedAnew) {
  const fs::path folder = save(checkpoints_, request(5));
  overwrite(folder / "model.safetensors", "cut");
  EXPECT_EQ(save(checkpoints_, request(5)), folder);
  EXPECT_EQ(Checkpoint::open(run_.path()).step(), 5);
  EXPECT_THAT(names_in(checkpoints_),
              UnorderedElementsAre("step-000005", "step-000005.damaged", "LATEST"));
}

TEST_F(CheckpointTest, AnUnsoundStepIsMarkedAndNeverTakenForTheNewest) {
  SaveRequest unsound = request(10);
  unsound.is_sound = false;
  const fs::path folder = save(checkpoints_, unsound);
  write_file_atomically(run_ / config::kResolvedConfigName, "");
  expect_refused(run_.path(), "has no sound one; there is step-000010.unsound");
  save(checkpoints_, request(5));
  EXPECT_EQ(folder.filename(), "step-000010.unsound");
  EXPECT_TRUE(is_marked_unsound(folder));
  EXPECT_EQ(Checkpoint::open(run_.path()).step(), 5);
  EXPECT_EQ(open_newest_sound(checkpoints_).checkpoint->step(), 5);
  EXPECT_EQ(steps_in(checkpoints_).size(), 1U);
  EXPECT_EQ(find_step(checkpoints_, 10), folder);
  EXPECT_EQ(Checkpoint::open(folder).step(), 10);  // by name
  EXPECT_EQ(save(checkpoints_, unsound), folder) << "the same step, again";
  EXPECT_EQ(Checkpoint::open(folder).step(), 10);
  unsound.step = 12;
  save(checkpoints_, unsound);  // the newest is enough
  EXPECT_THAT(names_in(checkpoints_),
              UnorderedElementsAre("step-000005", "step-000012.unsound", "LATEST"));
}

TEST_F(CheckpointTest, AFailedSaveLeavesTheOldOneAndNothingElse) {
  save(checkpoints_, request(5));
  CheckpointTensors large = tensors(10);
  large.weights.push_back({"large", at::arange(1 << 20, at::kFloat)});
  rlimit old_limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &old_limit), 0);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit limit{1 << 20, old_limit.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
  EXPECT_THROW(save(checkpoints_, request(10, large)), StorageError);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &old_limit), 0);
  std::signal(SIGXFSZ, old_handler);
  EXPECT_THAT(names_in(checkpoints_), UnorderedElementsAre("step-000005", "LATEST"));
  EXPECT_EQ(Checkpoint::open(run_.path()).step(), 5);
}

TEST_F(CheckpointTest, RemainsOfAKilledSaveAreIgnoredAndLaterRemoved) {
  save(checkpoints_, request(5));
  fs::create_directories(checkpoints_ / ".step-000010.4242.tmp");
  overwrite(checkpoints_ / ".step-000010.4242.tmp" / "manifest.json", "{}");
  EXPECT_EQ(Checkpoint::open(run_.path()).step(), 5);
  save(checkpoints_, request(15));
  EXPECT_THAT(names_in(checkpoints_), UnorderedElementsAre("step-000005", "step-000015", "LATEST"));
}

}  // namespace
}  // namespace switchyard::checkpoint
