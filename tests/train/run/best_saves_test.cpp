// Which checkpoint is the best, where not every one could be saved.
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <future>
#include <optional>
#include <string>
#include <thread>

#include "switchyard/core/error.h"
#include "switchyard/train/build.h"
#include "train/run/resume_point.h"
#include "train/run/run_loop.h"
#include "train/run/saves_fixture.h"
#include "train/run/training_state.h"
#include "train/run/troubled_task.h"
#include "train/tasks/next_token_task.h"

namespace switchyard::train {
namespace {

// Of the evaluations after 5, 10, 15 and 20 steps the second is the best.
class BestSaves : public SavesBeside {
 protected:
  BestSaves() {
    tiny_.config.train.evaluate_every = 5;
    tiny_.config.train.keep_best = true;
    tiny_.config.model.vocab_size = 257;
  }

  static void run(const config::Config& config, bool goes_on = false) {
    const auto judged = [](std::int64_t step) {
      return step == 5 ? 5.0 : step == 10 ? 1.0 : step == 15 ? 3.0 : 4.0;
    };
    const Build parts = build(config);
    const RunFolder folder =
        goes_on ? RunFolder::reopen(config.run.dir) : RunFolder::create(config.run.dir);
    const auto communicator = comm::make_self_communicator();
    parallel::RankGroups groups(*communicator, 1);
    NextTokenTask task(parts.config, *parts.decoder, parts.training, &*parts.validation);
    TroubledTask troubled(task, {.judged = judged});
    const StopSignal stop;
    RunLoop loop(parts.config, troubled, groups, folder, stop);
    if (goes_on) loop.restore(find_resume_point(folder, config, {}, std::nullopt, {}));
    (void)loop.run();
  }
  [[nodiscard]] std::int64_t best_of(const std::string& run, int number) const {
    const char* const name = "training_state.json";
    return parse_training_state(read_file(step(run, number) / name), name).best.step;
  }
};

// A disk that fails once: BEST names the best of what is there.
TEST_F(BestSaves, ABestThatCouldNotBeSavedIsNotTheBestToKeep) {
  for (const bool beside : {false, true}) {
    SCOPED_TRACE(beside ? "beside training" : "at once");
    const std::string name = beside ? "beside" : "at-once";
    config::Config config = named(name);
    config.train.async_save = beside;
    config.train.checkpoint_every = 12;  // which knows by then what became of step 10
    HeldDisk::fail(name + "/checkpoints/.step-000010");
    run(config);
    EXPECT_GT(HeldDisk::met, 0);
    EXPECT_FALSE(fs::exists(step(name, 10)));
    EXPECT_EQ(checkpoint::pointed_at(checkpoints(name), checkpoint::kBest), step(name, 15));
    EXPECT_EQ(best_of(name, 12), 5);
    EXPECT_EQ(best_of(name, 20), 15);
  }
}

TEST_F(BestSaves, AnEvaluationWaitsUntilItIsKnownWhatItIsJudgedBy) {
  tiny_.config.train.checkpoint_every = 100;
  HeldDisk::hold(".step-000010");
  const auto later = std::async(std::launch::async, [this] {
    wait_for_the_disk();
    wait_for_step(15);
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    HeldDisk::kind = HeldDisk::Kind::fails;
  });
  run(named("run"));
  EXPECT_FALSE(fs::exists(step("run", 10)));
  EXPECT_EQ(checkpoint::pointed_at(checkpoints(), checkpoint::kBest), step("run", 15));
}

// Saved by the stop, at the second try, it is the best again once the run goes on.
TEST_F(BestSaves, ABestThatAStopSavesIsMadeUpFor) {
  config::Config config = named("run");
  config.train.async_save = false;
  config.train.checkpoint_every = 100;
  HeldDisk::hold(".step-000010");
  {
    const auto later = std::async(std::launch::async, [] {
      wait_for_the_disk();
      ::kill(::getpid(), SIGTERM);
      HeldDisk::kind = HeldDisk::Kind::fails_once;
    });
    EXPECT_THROW(run(config), PreemptedError);
  }
  ASSERT_TRUE(fs::exists(step("run", 10)));
  EXPECT_EQ(checkpoint::pointed_at(checkpoints(), checkpoint::kBest), step("run", 5));
  run(config, /*goes_on=*/true);
  EXPECT_EQ(checkpoint::pointed_at(checkpoints(), checkpoint::kBest), step("run", 10));
}

TEST_F(BestSaves, RanksAgreeThatTheBestIsLost) {
  tiny_.config.optim.learning_rate = 0.0;  // what comes after it is as good
  tiny_.config.model.moe.num_experts = 4;
  tiny_.config.parallel.expert = 2;
  tiny_.config.train.checkpoint_every = 100;
  for (const bool beside : {false, true}) {
    tiny_.config.train.async_save = beside;
    const std::string name = beside ? "beside" : "at-once";
    HeldDisk::fail(name + "/checkpoints/.step-000005", "-00002-of-");
    start(2, named(name)).get();
    EXPECT_GT(HeldDisk::met, 0);
    EXPECT_FALSE(fs::exists(step(name, 5)));
    EXPECT_EQ(checkpoint::pointed_at(checkpoints(name), checkpoint::kBest), step(name, 10));
  }
}

}  // namespace
}  // namespace switchyard::train
