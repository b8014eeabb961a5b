// The run loop on ranks as threads: all make the same steps, one writes.
#include "train/run_loop.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "switchyard/checkpoint/checkpoint.h"
#include "switchyard/comm/threads.h"
#include "switchyard/train/build.h"
#include "train/next_token_task.h"
#include "train/tiny_run_folder.h"

namespace switchyard::train {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::IsEmpty;

struct Outcome {
  RunResult result;
  std::vector<at::Tensor> weights;
};

std::vector<Outcome> run_on_ranks(const config::Config& config, std::int64_t num_ranks) {
  const RunFolder folder = RunFolder::create(config.run.dir);
  const StopSignal stop;
  std::vector<Outcome> outcomes(static_cast<std::size_t>(num_ranks));
  comm::run_ranks(num_ranks, [&](comm::Communicator& world) {
    const Build parts = build(config);
    parallel::RankGroups groups(world, 1);
    NextTokenTask task(parts.config, *parts.decoder, parts.training, &*parts.validation);
    RunLoop loop(parts.config, task, groups, folder, stop);
    Outcome& outcome = outcomes[static_cast<std::size_t>(world.rank())];
    outcome.result = loop.run();
    for (const ops::Parameter* parameter : parts.decoder->parameters()) {
      outcome.weights.push_back(parameter->master.detach().clone());
    }
  });
  return outcomes;
}

TEST(RunLoopOnRanks, MakesTheSameStepsOnAllAndWritesThemOnce) {
  TinyRunFolder tiny;
  tiny.config.train.precision = "fp64";
  tiny.config.train.steps = 4;
  tiny.config.train.evaluate_every = 2;
  tiny.config.train.checkpoint_every = 2;
  tiny.config.train.micro_batch_size = tiny.config.train.global_batch_size / 2;
  const std::vector<Outcome> two = run_on_ranks(tiny.config, 2);

  std::vector<std::int64_t> steps;
  std::vector<std::int64_t> evaluated;
  for (const format::Json& record : tiny.records()) {
    (record.contains("event") ? evaluated : steps).push_back(record["step"].get<std::int64_t>());
  }
  EXPECT_THAT(steps, ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(evaluated, ElementsAre(2, 4));
  EXPECT_EQ(checkpoint::steps_in(tiny.folder / "run/checkpoints").size(), 2U);
  EXPECT_THAT(two[0].result.checkpoint.string(), EndsWith("step-000004"));
  EXPECT_THAT(two[1].result.checkpoint.string(), IsEmpty()) << "only the leading rank saves";
  ASSERT_EQ(two[0].weights.size(), two[1].weights.size());
  for (std::size_t i = 0; i < two[0].weights.size(); ++i) {
    EXPECT_TRUE(at::equal(two[0].weights[i], two[1].weights[i]));
  }

  tiny.config.run.dir = (tiny.folder / "alone").string();
  tiny.config.train.micro_batch_size = tiny.config.train.global_batch_size;  // R b, as before
  const std::vector<Outcome> one = run_on_ranks(tiny.config, 1);
  for (std::size_t i = 0; i < one[0].weights.size(); ++i) {
    EXPECT_TRUE(at::allclose(one[0].weights[i], two[0].weights[i], 1e-10, 1e-10));
  }
}

}  // namespace
}  // namespace switchyard::train
