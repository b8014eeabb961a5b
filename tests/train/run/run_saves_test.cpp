// Checkpoints that are written beside training (train.async_save), on a disk that is held up.
#include "train/run/run_saves.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <c10/core/CPUAllocator.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <future>
#include <new>
#include <string>
#include <thread>

#include "switchyard/checkpoint/checkpoint.h"
#include "switchyard/comm/self.h"
#include "switchyard/comm/threads.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"
#include "switchyard/train/build.h"
#include "switchyard/train/pretrain.h"
#include "train/run/joint_save.h"
#include "train/run/run_loop.h"
#include "train/run/saves_fixture.h"
#include "train/run/troubled_task.h"
#include "train/tasks/next_token_task.h"
#include "train/tiny_run_folder.h"

namespace switchyard::train {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

TEST_F(SavesBeside, StepsGoOnMeanwhileAndWhatIsSavedIsTheStepThatItWasAskedFor) {
  HeldDisk::hold();
  std::future<void> run = start(1, named("run"));
  const ReleaseAtEnd release;
  wait_for_step(8);
  wait_for_the_disk();
  EXPECT_THAT(checkpoint::steps_in(checkpoints()), IsEmpty()) << "it is not whole yet";
  EXPECT_FALSE(fs::exists(checkpoints() / checkpoint::kLatest));
  HeldDisk::release();
  run.get();
  EXPECT_EQ(checkpoint::pointed_at(checkpoints(), checkpoint::kLatest), step("run", 20));

  config::Config at_once = named("at-once");
  at_once.train.async_save = false;
  start(1, at_once).get();
  EXPECT_THAT(checkpoint::steps_in(checkpoints()), SizeIs(4));
  for (const int number : {5, 10, 15, 20}) {
    expect_same_tensors(step("run", number), step("at-once", number));
  }
}

TEST_F(SavesBeside, TheNextOneWaitsForTheOneBefore) {
  HeldDisk::hold();
  std::future<void> run = start(1, named("run"));
  const ReleaseAtEnd release;
  wait_for_step(10);
  EXPECT_EQ(run.wait_for(std::chrono::milliseconds(50)), std::future_status::timeout);
  EXPECT_THAT(read_file(tiny_.folder / "run/metrics.jsonl"), Not(HasSubstr("\"step\":11,")));
  HeldDisk::release();
  run.get();
  EXPECT_THAT(checkpoint::steps_in(checkpoints()), SizeIs(4));
}

TEST_F(SavesBeside, LatestMovesOnlyWhenTheFilesOfAllRanksAreWritten) {
  tiny_.config.model.moe.num_experts = 4;
  tiny_.config.parallel.expert = 2;
  HeldDisk::hold("", "-00002-of-");  // the second rank's
  std::future<void> run = start(2, named("run"));
  const ReleaseAtEnd release;
  wait_for_step(8);
  wait_for_the_disk();
  EXPECT_THAT(checkpoint::steps_in(checkpoints()), IsEmpty());
  HeldDisk::release();
  run.get();
  EXPECT_THAT(checkpoint::steps_in(checkpoints()), SizeIs(4));
  EXPECT_EQ(checkpoint::Checkpoint::open(tiny_.folder / "run").step(), 20);
}

TEST_F(SavesBeside, OneThatFailsCostsAWarningAndTheThirdInARowEndsTheRun) {
  HeldDisk::fail("step-000005");
  start(1, named("run")).get();
  EXPECT_THAT(log(), HasSubstr("step 5: checkpoint not saved (1 in a row)"));
  EXPECT_THAT(checkpoint::steps_in(checkpoints()), SizeIs(3));

  HeldDisk::fail();
  EXPECT_THROW(start(1, named("failing")).get(), StorageError);
  EXPECT_TRUE(fs::is_empty(checkpoints("failing"))) << "nothing half written stays";
}

TEST_F(SavesBeside, AFailureOfAnotherRankIsSaidByName) {
  tiny_.config.model.moe.num_experts = 4;
  tiny_.config.parallel.expert = 2;
  HeldDisk::fail("step-000005", "-00002-of-");
  start(2, named("run")).get();
  EXPECT_THAT(log(), HasSubstr("step 5: checkpoint not saved (1 in a row): rank 1: "));
  EXPECT_THAT(checkpoint::steps_in(checkpoints()), SizeIs(3));
}

TEST_F(SavesBeside, AStopWaitsForItAndSavesTheStepItStopsAt) {
  HeldDisk::hold();
  tiny_.config.train.steps = tiny_.config.schedule.steps = 100'000;
  tiny_.config.train.checkpoint_every = 50'000;
  tiny_.config.train.keep_best = true;  // saves beside training, too
  tiny_.config.train.evaluate_every = 200;
  std::future<void> run = start(1, named("run"));
  const ReleaseAtEnd release;
  wait_for_step(201);
  ::raise(SIGTERM);
  EXPECT_EQ(run.wait_for(std::chrono::milliseconds(50)), std::future_status::timeout);
  HeldDisk::release();
  EXPECT_THROW(run.get(), PreemptedError);
  const std::vector<fs::path> steps = checkpoint::steps_in(checkpoints());
  ASSERT_THAT(steps, SizeIs(2));
  EXPECT_EQ(steps[0], step("run", 200));
  EXPECT_EQ(checkpoint::pointed_at(checkpoints(), checkpoint::kBest), steps[0])
      << "it was the best so far before it was written";
}

// A moment's error costs none of the steps that only memory holds.
TEST_F(SavesBeside, AStopTriesAgainWhereTheDiskFails) {
  tiny_.config.train.steps = tiny_.config.schedule.steps = 100'000;
  tiny_.config.train.checkpoint_every = 50'000;
  const auto stopped = [this](const std::function<void()>& fail) {
    std::future<void> run = start(1, named("run"));
    wait_for_step(20);
    fail();
    ::raise(SIGTERM);
    return run;
  };
  EXPECT_THROW(stopped([] { HeldDisk::fail_once(); }).get(), PreemptedError);
  EXPECT_GT(HeldDisk::met, 0);
  EXPECT_THAT(log(), HasSubstr("checkpoint not saved (1 in a row)"));
  EXPECT_THAT(checkpoint::steps_in(checkpoints()), SizeIs(1));
  fs::remove_all(tiny_.folder / "run");
  EXPECT_THROW(stopped([] { HeldDisk::fail(); }).get(), StorageError);
  EXPECT_THAT(log(), HasSubstr("checkpoint not saved (2 in a row)"));
}

TEST_F(SavesBeside, AnEarlyStopWaitsForIt) {
  tiny_.config.optim.learning_rate = 0.0;  // the second evaluation is no better
  tiny_.config.train.evaluate_every = 5;
  tiny_.config.train.early_stop_patience = 1;
  tiny_.config.train.keep_last = 1;
  start(1, named("run")).get();
  EXPECT_THAT(log(), HasSubstr("stopping early"));
  EXPECT_THAT(checkpoint::steps_in(checkpoints()), ElementsAre(step("run", 10)))
      << "kept as many as asked for";
  EXPECT_EQ(checkpoint::pointed_at(checkpoints(), checkpoint::kLatest), step("run", 10));
}

// In the step after the one that is being saved, or in the one after that.
class SavesBesideAStepThatFails : public SavesBeside, public ::testing::WithParamInterface<int> {};
INSTANTIATE_TEST_SUITE_P(Steps, SavesBesideAStepThatFails, ::testing::Values(6, 7));

TEST_P(SavesBesideAStepThatFails, CostsNeitherItNorTheStepsBefore) {
  HeldDisk::hold("step-000005");
  const Build parts = build(named("run"));
  const RunFolder folder = RunFolder::create(parts.config.run.dir);
  const auto communicator = comm::make_self_communicator();
  parallel::RankGroups groups(*communicator, 1);
  NextTokenTask task(parts.config, *parts.decoder, parts.training, &*parts.validation);
  TroubledTask troubled(task, {.micro_batch = 2 * GetParam() - 1});  // two a step
  const StopSignal stop;
  std::future<void> run = std::async(
      std::launch::async, [&] { RunLoop(parts.config, troubled, groups, folder, stop).run(); });
  const ReleaseAtEnd release;
  wait_for_step(GetParam() - 1);
  wait_for_the_disk();
  EXPECT_EQ(run.wait_for(std::chrono::milliseconds(50)), std::future_status::timeout);
  HeldDisk::release();
  EXPECT_THROW(run.get(), OutOfMemoryError);
  std::vector<fs::path> steps = {step("run", 5)};
  if (GetParam() > 6) steps.push_back(step("run", GetParam() - 1));
  EXPECT_EQ(checkpoint::steps_in(checkpoints()), steps);
}

// LibTorch's memory runs out.
class NoMemory final : public c10::Allocator {
 public:
  NoMemory() : before_(c10::GetCPUAllocator()) { c10::SetCPUAllocator(this, kPriority); }
  ~NoMemory() override { c10::SetCPUAllocator(before_, kPriority); }
  NoMemory(const NoMemory&) = delete;
  NoMemory& operator=(const NoMemory&) = delete;
  c10::DataPtr allocate(std::size_t /*num_bytes*/) override { throw std::bad_alloc(); }
  void copy_data(void* /*to*/, const void* /*from*/, std::size_t /*num_bytes*/) const override {}

 private:
  static constexpr std::uint8_t kPriority = 1;
  c10::Allocator* before_;
};

TEST_F(SavesBeside, WithoutMemoryForACopyThereIsNone) {
  const auto world = comm::make_self_communicator();
  fs::create_directories(checkpoints());
  const auto request_of = [](const at::Tensor& weight) {
    return checkpoint::SaveRequest{
        .step = 3,
        .plan = checkpoint::one_file_per_kind({.weights = {{.name = "w", .tensor = weight}}}),
        .tokenizer_file = "tokenizer.model",
        .resolved_config = "a: 1\n"};
  };
  {
    JointSave save(*world, checkpoints(), request_of(at::ones({3})));
    const NoMemory none;
    EXPECT_FALSE(save.copy());
  }
  {
    // The system would promise them.
    JointSave save(*world, checkpoints(),
                   request_of(at::ones({1}).expand({std::int64_t{1} << 50})));
    EXPECT_FALSE(save.copy());
  }
  JointSave save(*world, checkpoints(), request_of(at::ones({3})));
  ASSERT_TRUE(save.copy());
  save.write_beside();
  EXPECT_EQ(save.finish(), step("run", 3));
  EXPECT_EQ(checkpoint::Checkpoint::open(step("run", 3)).weights().copies().size(), 1U);
}

TEST_F(SavesBeside, WhereOneRankHasNoMemoryAllWait) {
  fs::create_directories(checkpoints());
  const RunFolder folder = RunFolder::of_another_rank(checkpoints().parent_path());
  comm::run_ranks(2, [&](comm::Communicator& world) {
    parallel::RankGroups groups(world, 2);
    RunRanks ranks(world);
    const config::Config config = named("run");
    RunSaves saves(config, groups, ranks, folder);
    const at::Tensor weight = world.rank() == 0 ? at::ones({3}) : at::empty({0});
    const std::int64_t most = std::int64_t{1} << 50;
    checkpoint::SaveRequest request{.step = 3, .resolved_config = "a: 1\n"};
    request.tokenizer_file = "tokenizer.model";
    request.plan = checkpoint::files_of_writer(
        {.weights = {{.name = fmt::format("w{}", world.rank()), .tensor = weight}}},
        static_cast<int>(world.rank()), {.weights = 2, .optimizer = 0});
    // Planned, for another rank to write: it has no memory to copy it.
    if (world.rank() == 1) {
      request.plan.push_back({.name = "huge",
                              .writer = 0,
                              .parts = {{.name = "h", .tensor = at::ones({1}).expand({most})}}});
    }
    saves.save(std::move(request));
    EXPECT_FALSE(saves.is_under_way()) << "rank " << world.rank();
  });
  EXPECT_EQ(checkpoint::Checkpoint::open(step("run", 3)).weights().copies().size(), 2U);
}

TEST_F(SavesBeside, WhatIsGivenUpEndsSoonAndLeavesNothing) {
  const auto world = comm::make_self_communicator();
  fs::create_directories(checkpoints());
  std::vector<checkpoint::NamedTensor> weights;
  for (int i = 0; i < 3; ++i) {
    weights.push_back({.name = fmt::format("w{}", i), .tensor = at::ones({3})});
  }
  std::atomic<bool> given_up = true;
  EXPECT_THROW(
      (void)checkpoint::write_files_of(0, checkpoint::one_file_per_kind({.weights = weights}),
                                       checkpoints(), &given_up),
      StorageError);
  {
    JointSave save(*world, checkpoints(),
                   {.step = 3, .plan = checkpoint::one_file_per_kind({.weights = weights})});
    ASSERT_TRUE(save.copy());
    save.write_beside();
  }
  EXPECT_THAT(checkpoint::steps_in(checkpoints()), IsEmpty());
  for (const auto& entry : fs::directory_iterator(checkpoints())) {
    EXPECT_FALSE(entry.is_directory()) << entry.path();
  }
}

}  // namespace
}  // namespace switchyard::train
