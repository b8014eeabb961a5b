#include "switchyard/config/resume.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "support/temporary_folder.h"
#include "switchyard/config/data_folders.h"
#include "switchyard/config/folders.h"
#include "switchyard/config/load.h"
#include "switchyard/config/routers/relu.h"
#include "switchyard/config/routers/top_p.h"
#include "switchyard/core/file.h"

namespace switchyard::config {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class ResumeConfig : public ::testing::Test {
 protected:
  ResumeConfig() {
    fs::create_directories(run_);
    fs::create_directories(data_);
    write_file_atomically(data_ / "data.json", "{}");
    const std::string data = "data.path=" + data_.string();
    const Config config =
        load_text("extends: tiny.yaml\n", std::string(SWITCHYARD_SOURCE_DIR) + "/configs/x.yaml",
                  std::vector<std::string>{data})
            .config;
    write_file_atomically(run_ / "config.resolved.yaml", to_yaml(config));
  }

  [[nodiscard]] Config resumed(const std::vector<std::string>& overrides,
                               const AllowedChanges& allowed = {}) const {
    return load_for_resume(run_, overrides, allowed);
  }

  // The problems that a resume is refused with.
  [[nodiscard]] std::vector<std::string> refused(const std::vector<std::string>& overrides,
                                                 const AllowedChanges& allowed = {}) const {
    try {
      (void)resumed(overrides, allowed);
    } catch (const ConfigError& error) {
      return error.problems();
    }
    return {};
  }

  testing::TemporaryFolder folder_;
  fs::path run_ = folder_ / "run";
  fs::path data_ = folder_ / "data";
};

TEST_F(ResumeConfig, AFolderOfAnyNameIsGoneOnWithAgainAndAgain) {
  const fs::path odd = folder_ / "a \x1b[31m\t\"b\x7f";
  fs::rename(run_, odd);
  for (int i = 0; i < 3; ++i) {
    const Config config = load_for_resume(odd, {}, {});
    EXPECT_EQ(config.run.dir, odd.string());
    write_file_atomically(odd / "config.resolved.yaml", to_yaml(config));
  }
}

TEST_F(ResumeConfig, WithoutOverridesItIsTheRunsOwnConfigInTheFolderWhereItIsNow) {
  const Config config = resumed({});
  EXPECT_EQ(config.run.dir, run_.string());
  EXPECT_EQ(config.train.steps, 40);
}

TEST_F(ResumeConfig, CadenceMicroBatchAndStepsAreFreeToChange) {
  const Config config = resumed({"train.steps=80", "train.log_every=5", "train.evaluate_every=7",
                                 "train.checkpoint_every=9", "train.micro_batch_size=2",
                                 "train.keep_last=5", "train.sample_every=3"});
  EXPECT_EQ(config.train.steps, 80);
  // The schedule is the one that the run began with.
  EXPECT_EQ(config.schedule.steps, 40);
}

TEST_F(ResumeConfig, WhatOnlyFineTuningReadsIsFreeToChange) {
  EXPECT_EQ(resumed({"finetune.pooling=first", "finetune.max_length=99"}).finetune.pooling,
            "first");
}

TEST_F(ResumeConfig, WhatDecidesTheResultIsNotAndEveryKeyIsNamed) {
  const auto problems = refused({"optim.learning_rate=0.1", "run.seed=9", "train.precision=bf16",
                                 "model.moe.router.p=0.3", "train.steps=50"});
  ASSERT_EQ(problems.size(), 4U);
  EXPECT_THAT(problems,
              ::testing::Contains(HasSubstr("run.seed: the run was started with 1, now it is 9")));
  EXPECT_THAT(problems, ::testing::Contains(HasSubstr("model.moe.router.p")));
}

TEST_F(ResumeConfig, AllowedKeysAndGroupsPass) {
  EXPECT_TRUE(refused({"optim.learning_rate=0.1"}, {.keys = {"optim.learning_rate"}}).empty());
  EXPECT_TRUE(refused({"optim.learning_rate=0.1", "optim.eps=1e-6"}, {.keys = {"optim"}}).empty());
  EXPECT_EQ(refused({"optim.learning_rate=0.1"}, {.keys = {"optim.learning"}}).size(), 1U);
}

TEST_F(ResumeConfig, AnotherRouterIsOneChangeAndHasItsOwnFlag) {
  const std::vector<std::string> overrides{"model.moe.router.type=top_k", "model.moe.router.k=1",
                                           "model.moe.router.renormalize=false"};
  const auto problems = refused(overrides);
  ASSERT_EQ(problems.size(), 1U);
  EXPECT_THAT(problems[0], HasSubstr("model.moe.router.type"));
  try {
    (void)resumed(overrides);
  } catch (const ConfigError& error) {
    EXPECT_THAT(error.hint(), HasSubstr("--allow-router-change"));
  }
  EXPECT_EQ(resumed(overrides, {.router = true}).model.moe.router.type, "top_k");
}

// The run's config spells defaults out, as if somebody had asked for them.
TEST_F(ResumeConfig, AnotherRouterBeginsWithItsOwnDefaultsAndWhatIsSaidNow) {
  const auto set_router = [this](const std::vector<std::string>& overrides) {
    write_file_atomically(run_ / "config.resolved.yaml",
                          to_yaml(resumed(overrides, {.router = true})));
  };
  const AllowedChanges router{.router = true};
  set_router({"model.moe.router.type=relu", "model.moe.router.target_k=0.5",
              "model.moe.router.control=layer"});
  const auto top_p = resumed({"model.moe.router.type=top_p"}, router).model.moe.router;
  EXPECT_EQ(top_p.options.as<TopPOptions>().target_k, 0.0);
  EXPECT_EQ(top_p.options.as<TopPOptions>().control, "model");
  const auto steered =
      resumed({"model.moe.router.type=top_p", "model.moe.router.target_k=3"}, router);
  EXPECT_EQ(steered.model.moe.router.options.as<TopPOptions>().target_k, 3.0);
  // The same type keeps what it has.
  EXPECT_EQ(resumed({"model.moe.router.type=relu"}, {}).model.moe.router.options.as<ReluOptions>(),
            (ReluOptions{.target_k = 0.5, .control = "layer"}));
  set_router({"model.moe.router.type=top_k"});
  ASSERT_TRUE(resumed({}).model.moe.router.renormalize);
  EXPECT_FALSE(resumed({"model.moe.router.type=top_p"}, router).model.moe.router.renormalize);
}

TEST_F(ResumeConfig, AnotherRouterOfOneLayerIsAChange) {
  const std::string key = "model.moe.router.per_layer";
  const Config with_layer = resumed({key + "={1: {p: 0.7}}"}, {.router = true});
  write_file_atomically(run_ / "config.resolved.yaml", to_yaml(with_layer));
  EXPECT_TRUE(refused({}).empty());
  EXPECT_THAT(refused({key + "={1: {p: 0.6}}"}), ::testing::ElementsAre(HasSubstr(key)));
}

TEST_F(ResumeConfig, AnotherRunFolderIsRefused) {
  EXPECT_THAT(refused({"run.dir=elsewhere"}), ::testing::ElementsAre(HasSubstr("run.dir")));
}

TEST_F(ResumeConfig, DataThatIsGoneIsNamedWithHowToSayWhereItIsNow) {
  fs::remove_all(data_);
  EXPECT_THAT(refused({}), ::testing::ElementsAre(HasSubstr("data.path: no folder")));
  try {
    (void)resumed({});
  } catch (const ConfigError& error) {
    EXPECT_EQ(error.hint(), "say where the run's data is now: switchyard resume " + run_.string() +
                                " data.path=FOLDER");
  }
}

// A project with a run and data that its config names relative to the project's folder.
class MovedData : public ::testing::Test {
 protected:
  MovedData() { fs::current_path(start({}, "project")); }
  ~MovedData() override { fs::current_path(before_); }

  // Returns the folder of the project, where the command that started the run was given.
  fs::path start(const std::string& blend, const std::string& name) {
    const fs::path project = folder_ / name;
    fs::create_directories(project / "runs/a");
    fs::create_directories(project / "data/b");
    fs::create_directories(project / "data/c");
    fs::create_directories(folder_ / "elsewhere");
    for (const char* data : {"data/b", "data/c"}) add_data(project / data);
    fs::current_path(project);
    const Config config =
        load_text(
            "extends: tiny.yaml\n", std::string(SWITCHYARD_SOURCE_DIR) + "/configs/x.yaml",
            std::vector<std::string>{blend.empty() ? "data.path=data/b" : "data.blend=" + blend,
                                     blend.empty() ? "run.seed=1" : "data.path="})
            .config;
    write_file_atomically("runs/a/config.resolved.yaml", to_yaml(config));
    write_file_atomically(fs::path("runs/a") / kDataFoldersName,
                          data_folders_yaml(config.data, "runs/a"));
    return project;
  }
  static void add_data(const fs::path& folder) {
    write_file_atomically(folder / kPreparedDataName, "{}");
  }
  [[nodiscard]] static DataConfig data_of(const fs::path& run,
                                          const std::vector<std::string>& overrides = {}) {
    return load_for_resume(run, overrides, {}).data;
  }

  fs::path before_ = fs::current_path();
  testing::TemporaryFolder folder_;
};

TEST_F(MovedData, IsFoundFromAnyWorkingFolder) {
  EXPECT_EQ(data_of("runs/a").path, "data/b");
  fs::current_path(folder_ / "elsewhere");
  EXPECT_EQ(data_of("../project/runs/a").path, (folder_ / "project/data/b").string());
}

TEST_F(MovedData, IsFoundWhenTheRunWasMoved) {
  fs::rename("runs/a", folder_ / "elsewhere/a");
  fs::current_path(folder_ / "elsewhere");
  EXPECT_EQ(data_of("a").path, (folder_ / "project/data/b").string());
}

TEST_F(MovedData, IsFoundWhenRunAndDataWereMovedTogether) {
  fs::current_path(folder_.path());
  fs::rename("project", "moved");
  EXPECT_EQ(data_of("moved/runs/a/").path, (folder_ / "moved/data/b").string());
}

TEST_F(MovedData, TheSpellingThatIsGivenComesFirst) {
  fs::current_path(folder_ / "elsewhere");
  fs::create_directories("data/b");
  add_data("data/b");
  EXPECT_EQ(data_of("../project/runs/a").path, "data/b");
  EXPECT_EQ(data_of("../project/runs/a", {"data.path=../project/data/c"}).path,
            "../project/data/c");
}

TEST_F(MovedData, EveryFolderOfABlendIsFound) {
  start("[{path: data/b, weight: 2}, {path: data/c}]", "blended");
  fs::current_path(folder_ / "elsewhere");
  const DataConfig data = data_of("../blended/runs/a");
  ASSERT_EQ(data.blend.size(), 2U);
  EXPECT_EQ(data.blend[0], (BlendItem{(folder_ / "blended/data/b").string(), 2.0}));
  EXPECT_EQ(data.blend[1], (BlendItem{(folder_ / "blended/data/c").string(), 1.0}));
  fs::remove_all(folder_ / "blended/data/c");
  try {
    (void)data_of("../blended/runs/a");
    FAIL() << "found what is gone";
  } catch (const ConfigError& error) {
    EXPECT_THAT(error.what(), HasSubstr("data/c', nor in '"));
    EXPECT_THAT(error.hint(), HasSubstr("resume ../blended/runs/a 'data.blend=[{path: "));
  }
}

TEST_F(MovedData, ALinkIsFollowedToWhereItLeadsNow) {
  fs::rename("data/b", folder_ / "elsewhere/first");
  fs::create_directory_symlink(folder_ / "elsewhere/first", "data/b");
  start({}, "project");
  fs::current_path(folder_ / "elsewhere");
  fs::remove(folder_ / "project/data/b");
  fs::create_directory_symlink(folder_ / "project/data/c", folder_ / "project/data/b");
  EXPECT_EQ(data_of("../project/runs/a").path, (folder_ / "project/data/b").string());
}

TEST_F(MovedData, WithoutWhatTheRunRemembersOrWithRubbishItIsOnlyNotFound) {
  fs::current_path(folder_ / "elsewhere");
  const fs::path file = folder_ / "project/runs/a" / kDataFoldersName;
  for (const char* text : {"", "[1, {path: [x]}, {}]", "a: b", "- path: data/b", "{{{", "\xff\n"}) {
    write_file_atomically(file, text);
    EXPECT_THROW((void)data_of("../project/runs/a"), ConfigError) << text;
  }
  fs::remove(file);
  EXPECT_THROW((void)data_of("../project/runs/a"), ConfigError);
}

TEST_F(ResumeConfig, TheTableSaysWhichFieldsAreFree) {
  for (const Field& field : all_fields()) {
    if (field.key.starts_with("model.") || field.key.starts_with("optim.") ||
        field.key.starts_with("schedule.")) {
      EXPECT_FALSE(field.free_on_resume) << field.key;
    }
  }
}

TEST_F(ResumeConfig, TheHintOfAChangeNamesTheKeysThatWouldHaveToBeAllowed) {
  try {
    (void)resumed({"optim.learning_rate=0.5", "schedule.steps=70"});
    FAIL() << "went on";
  } catch (const ConfigError& error) {
    EXPECT_THAT(error.hint(), HasSubstr("--allow-change optim.learning_rate,schedule.steps"));
  }
}

TEST_F(ResumeConfig, ASeedOfFinetuneIsItsCommandsToGoOnWith) {
  for (const char* const place :
       {"out/sst2/seed-7", "rates/sst2/lr-0.001/seed-7", "both/baseline/sst2/seed-7"}) {
    const fs::path seed = folder_ / place;
    fs::create_directories(seed);
    fs::copy_file(run_ / "config.resolved.yaml", seed / "config.resolved.yaml");
    EXPECT_NO_THROW((void)load_for_resume(seed, {}, {})) << "a run that is only called so";
    const fs::path output = folder_ / *fs::path(place).begin();
    write_file_atomically(output / "finetune.json", "{}");
    if (fs::exists(output / "baseline")) {
      write_file_atomically(output / "baseline/finetune.json", "{}");
    }
    try {
      (void)load_for_resume(seed, {}, {});
      ADD_FAILURE() << place;
    } catch (const UsageError& error) {
      EXPECT_THAT(error.what(), HasSubstr("a seed of `switchyard finetune`"));
      EXPECT_THAT(error.hint(), HasSubstr("--output " + output.string()));
    }
  }
}

// What a run's file spells out is told from its name, however long the path to it is.
TEST_F(ResumeConfig, AnotherRouterBeginsWithItsOwnDefaultsFarDownInFolders) {
  const fs::path far = folder_ / std::string(100, 'a') / std::string(100, 'b') / "run";
  fs::create_directories(far.parent_path());
  fs::copy(run_, far);
  const AllowedChanges router{.router = true};
  const std::vector<std::string> relu = {"model.moe.router.type=relu",
                                         "model.moe.router.target_k=0.5"};
  write_file_atomically(far / "config.resolved.yaml", to_yaml(load_for_resume(far, relu, router)));
  const std::vector<std::string> top_p = {"model.moe.router.type=top_p"};
  EXPECT_EQ(load_for_resume(far, top_p, router).model.moe.router.options.as<TopPOptions>().target_k,
            0.0);
  std::ofstream(far / "config.resolved.yaml") << "run: {directory: x}\n";
  EXPECT_THAT([&] { (void)load_for_resume(far, {}, {}); },
              ::testing::ThrowsMessage<ConfigError>(
                  HasSubstr("b/run/config.resolved.yaml:1:7: unknown key 'directory'")));
}

}  // namespace
}  // namespace switchyard::config
