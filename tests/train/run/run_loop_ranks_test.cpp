// Whole runs on ranks as threads: all make the same steps, evaluations and decisions, one owns the
// folder, each writes its experts; and a run may go on in another layout than it began in.
#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "switchyard/checkpoint/checkpoint.h"
#include "switchyard/comm/threads.h"
#include "switchyard/config/load.h"
#include "switchyard/core/error.h"
#include "switchyard/model/parameter_counts.h"
#include "switchyard/optim/adamw.h"
#include "switchyard/parallel/expert_parallel.h"
#include "switchyard/parallel/gradients.h"
#include "switchyard/train/build.h"
#include "switchyard/train/model_files.h"
#include "switchyard/train/pretrain.h"
#include "switchyard/train/stop_signal.h"
#include "train/run/joint_save.h"
#include "train/run/run_ranks.h"
#include "train/tasks/next_token_task.h"
#include "train/tiny_run_folder.h"

namespace switchyard::train {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

struct Layout {
  std::int64_t num_ranks = 1;
  std::int64_t expert = 1;
  [[nodiscard]] std::string name() const { return fmt::format("{}x{}", num_ranks, expert); }
};
const std::vector<Layout> kLayouts = {{1, 1}, {2, 1}, {2, 2}, {4, 2}, {4, 4}};
constexpr std::int64_t kMicroStep = 4;  // R b, on which load balance depends

config::Config tiny_ranks(const TinyRunFolder& tiny, const std::string& router) {
  config::Config config = tiny.config;
  config.train.precision = "fp64";
  config.train.steps = 4;
  config.train.global_batch_size = 8;
  config.train.evaluate_every = 2;
  config.train.checkpoint_every = 2;
  config.train.sample_every = 4;
  config.train.keep_last = 10;
  config.model.dropout = 0.1;
  config.model.moe.num_experts = 4;
  config.model.moe.router = config::RouterConfig(router);
  return config;
}

config::Config in_layout(config::Config config, const Layout& layout) {
  config.parallel.expert = layout.expert;
  config.train.micro_batch_size = kMicroStep / layout.num_ranks;
  return config;
}

// Results by rank.
std::vector<RunResult> on_ranks(std::int64_t num_ranks,
                                const std::function<RunResult(comm::Communicator& world)>& work) {
  std::vector<RunResult> results(static_cast<std::size_t>(num_ranks));
  comm::run_ranks(num_ranks, [&](comm::Communicator& world) {
    results[static_cast<std::size_t>(world.rank())] = work(world);
  });
  return results;
}

std::vector<RunResult> pretrain_in(const config::Config& config, const Layout& layout) {
  return on_ranks(layout.num_ranks, [&](comm::Communicator& world) {
    return pretrain(in_layout(config, layout), world);
  });
}

std::vector<RunResult> resume_in(const fs::path& run, std::int64_t steps, const Layout& layout) {
  config::Config config = config::load(run / "config.resolved.yaml", {}).config;
  config.train.steps = steps;
  return on_ranks(layout.num_ranks, [&](comm::Communicator& world) {
    return resume(in_layout(config, layout), {.keys = {"train.micro_batch_size", "schedule"}},
                  std::nullopt, world);
  });
}

// Whatever the files are that it is in.
std::map<std::string, at::Tensor> tensors_of(const fs::path& step) {
  const auto saved = checkpoint::Checkpoint::open(step);
  std::map<std::string, at::Tensor> all;
  for (const checkpoint::TensorFiles& files :
       {saved.weights(), saved.optimizer(), saved.router_state()}) {
    for (const auto& [name, tensor] : files.copies()) all.emplace(name, tensor.flatten());
  }
  return all;
}

void expect_near(const std::map<std::string, at::Tensor>& a,
                 const std::map<std::string, at::Tensor>& b, double tolerance) {
  ASSERT_EQ(a.size(), b.size());
  for (const auto& [name, tensor] : a) {
    ASSERT_TRUE(b.contains(name)) << name;
    EXPECT_TRUE(at::allclose(tensor, b.at(name), tolerance, tolerance)) << name;
  }
}

class RunsOnRanks : public ::testing::TestWithParam<std::string> {
 protected:
  [[nodiscard]] fs::path run(const std::string& name) const { return tiny_.folder / name; }
  [[nodiscard]] fs::path step(const std::string& name, int number) const {
    return run(name) / fmt::format("checkpoints/step-{:06}", number);
  }
  [[nodiscard]] config::Config config(const std::string& name) const {
    config::Config config = tiny_ranks(tiny_, GetParam());
    config.run.dir = run(name).string();
    return config;
  }

  TinyRunFolder tiny_;
};

INSTANTIATE_TEST_SUITE_P(Routers, RunsOnRanks,
                         ::testing::Values("top_k", "top_p", "attention_importance"));

TEST_P(RunsOnRanks, InEveryLayoutAreTheRunOfOneRank) {
  for (const Layout& layout : kLayouts) {
    const std::string name = layout.name();
    SCOPED_TRACE(name);
    const std::vector<RunResult> results = pretrain_in(config(name), layout);
    EXPECT_EQ(results[0].checkpoint, step(name, 4));
    for (const RunResult& result : results) {
      EXPECT_EQ(result.num_steps, 4);
      ASSERT_TRUE(result.evaluation.has_value());
      EXPECT_EQ(result.evaluation->loss, results[0].evaluation->loss) << "the same bits on all";
    }
    expect_near(tensors_of(step("1x1", 4)), tensors_of(step(name, 4)), 1e-9);
    const auto expected = tiny_.records("1x1");
    const auto records = tiny_.records(name);
    ASSERT_EQ(records.size(), expected.size()) << "each record once";
    for (std::size_t i = 0; i < records.size(); ++i) {
      for (const char* key : {"loss", "grad_norm", "bits_per_byte"}) {
        if (!expected[i].contains(key)) continue;
        const auto value = expected[i][key].get<double>();
        EXPECT_NEAR(records[i][key].get<double>(), value, 1e-10 * value) << key << " " << i;
      }
      EXPECT_EQ(records[i]["step"], expected[i]["step"]);
    }
    EXPECT_EQ(read_file(run(name) / "samples/step-000004.txt"),
              read_file(run("1x1") / "samples/step-000004.txt"));
  }
}

// Who keeps which moments is no matter of numbers; a run may change its mind.
TEST_P(RunsOnRanks, WithOrWithoutSharedOutMomentsAreTheSameRun) {
  config::Config whole = config("whole");
  whole.parallel.shard_optimizer = false;
  for (const config::Config& each : {config("shared"), whole}) {
    (void)pretrain_in(each, {4, 2});
  }
  EXPECT_TRUE(fs::exists(step("shared", 4) / "optimizer-00004-of-00004.safetensors"));
  EXPECT_TRUE(fs::exists(step("whole", 4) / "optimizer-00002-of-00002.safetensors"));
  expect_near(tensors_of(step("whole", 4)), tensors_of(step("shared", 4)), 1e-9);
  (void)resume_in(run("whole"), 6, {2, 1});
  config::Config changed = config::load(run("shared") / "config.resolved.yaml", {}).config;
  changed.train.steps = 6;
  changed.parallel.shard_optimizer = false;
  (void)on_ranks(2, [&](comm::Communicator& world) {
    return resume(in_layout(changed, {2, 1}), {.keys = {"train.micro_batch_size", "schedule"}},
                  std::nullopt, world);
  });
  expect_near(tensors_of(step("whole", 6)), tensors_of(step("shared", 6)), 1e-9);
}

// Weights, moments and router state come through any change of layout bit for bit: what each rank
// has taken from the files of another layout is what it writes into its own.
TEST_P(RunsOnRanks, GoOnInAnotherLayout) {
  (void)pretrain_in(config("run"), {4, 4});
  EXPECT_TRUE(fs::exists(step("run", 4) / "model-00003-of-00004.safetensors"));
  EXPECT_TRUE(fs::exists(step("run", 4) / "optimizer-00004-of-00004.safetensors"));
  const auto saved = tensors_of(step("run", 4));

  for (const Layout& layout : kLayouts) {
    SCOPED_TRACE(layout.name());
    comm::run_ranks(layout.num_ranks, [&](comm::Communicator& world) {
      const config::Config own = in_layout(config("run"), layout);
      parallel::RankGroups groups(world, layout.expert);
      const Build parts = build(own, parallel::expert_placement(groups, own.model.moe.num_experts));
      EXPECT_EQ(model::count_parameters(*parts.decoder).total,
                model::count_parameters(parts.config.model).total)
          << "the whole model's, whatever is held here";
      const auto checkpoint = checkpoint::Checkpoint::open(step("run", 4));
      load_weights(*parts.decoder, checkpoint.weights());
      for (const checkpoint::NamedTensor& part : named_weights(*parts.decoder)) {
        EXPECT_TRUE(at::equal(part.tensor.flatten(), saved.at(part.name))) << part.name;
      }
      for (const bool shares_out : {false, true}) {
        const std::vector<ops::Parameter*> parameters = parts.decoder->parameters();
        const parallel::Gradients gradients(parameters, groups, shares_out);
        const optim::AdamW optimizer(gradients.slices(), own.optim);
        load_moments(optimizer, *parts.decoder, checkpoint.optimizer());
        for (const checkpoint::NamedTensor& part : named_moments(optimizer)) {
          const std::int64_t begin = part.piece ? part.piece->begin : 0;
          EXPECT_TRUE(at::equal(part.tensor.flatten(),
                                saved.at(part.name).narrow(0, begin, part.tensor.numel())))
              << part.name;
        }
      }
    });
  }

  config::Config straight = config("straight");
  straight.train.steps = 10;
  straight.schedule.steps = 10;
  config::Config stopped = config("changing");
  stopped.schedule.steps = 10;
  (void)pretrain_in(straight, {1, 1});
  (void)pretrain_in(stopped, {4, 4});
  (void)resume_in(run("changing"), 6, {2, 1});
  (void)resume_in(run("changing"), 8, {1, 1});
  const auto back = resume_in(run("changing"), 10, {4, 2});
  EXPECT_EQ(back[3].num_steps, 10);
  expect_near(tensors_of(step("straight", 10)), tensors_of(step("changing", 10)), 1e-8);
  EXPECT_EQ(tiny_.step_records("changing").size(), 10U);
}

TEST_P(RunsOnRanks, ResumeInTheSameLayoutBitForBit) {
  config::Config straight = config("straight");
  straight.train.steps = 8;
  straight.schedule.steps = 8;
  config::Config stopped = config("stopped");
  stopped.schedule.steps = 8;
  const Layout layout{4, 2};
  (void)pretrain_in(straight, layout);
  (void)pretrain_in(stopped, layout);
  (void)resume_in(run("stopped"), 8, layout);
  for (const char* file :
       {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
        "optimizer-00001-of-00004.safetensors", "optimizer-00002-of-00004.safetensors",
        "optimizer-00003-of-00004.safetensors", "optimizer-00004-of-00004.safetensors"}) {
    EXPECT_EQ(read_file(step("stopped", 8) / file), read_file(step("straight", 8) / file)) << file;
  }
}

class RunOnRanks : public RunsOnRanks {};
INSTANTIATE_TEST_SUITE_P(OneRouter, RunOnRanks, ::testing::Values("top_p"));

TEST_P(RunOnRanks, SavesTheSameStepWhenOneIsToldToStop) {
  config::Config stopping = config("run");
  stopping.train.steps = 1000;
  stopping.train.evaluate_every = stopping.train.sample_every = stopping.train.checkpoint_every = 0;
  std::mutex mutex;
  std::vector<std::string> messages;
  const StopSignal caught;  // from before the signal to after the last rank
  std::thread later([] {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    ::kill(::getpid(), SIGTERM);
  });
  comm::run_ranks(2, [&](comm::Communicator& world) {
    try {
      (void)pretrain(in_layout(stopping, {2, 2}), world);
    } catch (const PreemptedError& error) {
      const std::lock_guard lock(mutex);
      messages.emplace_back(error.what());
    }
  });
  later.join();
  ASSERT_THAT(messages, SizeIs(2)) << "all ranks stop";
  EXPECT_EQ(checkpoint::steps_in(run("run") / "checkpoints").size(), 1U);
  EXPECT_THAT(messages[0], HasSubstr("stopped by SIGTERM after step"));
}

TEST_P(RunOnRanks, WithAWriterThatFailsSaveNothingAndSayWhose) {
  const config::Config failing = config("run");
  std::string message;
  try {
    comm::run_ranks(2, [&](comm::Communicator& world) {
      const fs::path checkpoints = run("run") / "checkpoints";
      if (world.rank() == 0) fs::create_directories(checkpoints);
      checkpoint::SaveRequest request{.step = 2, .resolved_config = "a: 1\n"};
      if (world.rank() == 1) {
        request.plan = {{.name = "no/such/folder.safetensors", .writer = 1, .parts = {}}};
      }
      JointSave save(world, checkpoints, request);
      save.write();
      (void)save.finish();
    });
  } catch (const StorageError& error) {
    message = error.what();
  }
  EXPECT_THAT(message, HasSubstr("rank 1: "));
  EXPECT_THAT(checkpoint::steps_in(run("run") / "checkpoints"), IsEmpty());
  EXPECT_TRUE(fs::is_empty(run("run") / "checkpoints")) << "what was written is removed";
}

TEST_P(RunOnRanks, AgreeOnWhatOneKnows) {
  comm::run_ranks(3, [](comm::Communicator& world) {
    RunRanks ranks(world);
    EXPECT_EQ(ranks.leads(), world.rank() == 0);
    EXPECT_TRUE(ranks.any(world.rank() == 1, "one"));
    EXPECT_FALSE(ranks.any(false, "none"));
    EXPECT_EQ(ranks.sum(world.rank(), "ranks"), 3);
    EXPECT_EQ(ranks.of_leader(7 + world.rank(), "number"), 7);
  });
}

// Outputs that are not finite cost no rank more than the sample, whoever makes it.
TEST_P(RunOnRanks, GoOnWhereASampleFails) {
  for (const Layout& layout : {Layout{2, 1}, Layout{2, 2}}) {
    SCOPED_TRACE(layout.name());
    const config::Config own = in_layout(config(layout.name()), layout);
    comm::run_ranks(layout.num_ranks, [&](comm::Communicator& world) {
      parallel::RankGroups groups(world, layout.expert);
      const Build parts = build(own, parallel::expert_placement(groups, own.model.moe.num_experts));
      for (ops::Parameter* parameter : parts.decoder->parameters()) {
        parameter->master.fill_(std::nan(""));
        ops::publish(*parameter);
      }
      RunRanks ranks(world);
      NextTokenTask task(parts.config, *parts.decoder, parts.training, nullptr);
      EvaluationOptions options;
      if (layout.expert > 1) options.ranks = ranks.share();
      EXPECT_THROW((void)task.sample(options), NonFiniteError);
      world.barrier("all are here again");
    });
  }
}

TEST_P(RunOnRanks, CutASampleShortTogetherWhereOneIsTold) {
  const config::Config own = in_layout(config("run"), {2, 2});
  comm::run_ranks(2, [&](comm::Communicator& world) {
    parallel::RankGroups groups(world, 2);
    const Build parts = build(own, parallel::expert_placement(groups, own.model.moe.num_experts));
    RunRanks ranks(world);
    NextTokenTask task(parts.config, *parts.decoder, parts.training, nullptr);
    std::int64_t num_asked = 0;
    const auto should_stop = [&] { return ranks.any(++num_asked > 1 + world.rank(), "stop"); };
    EXPECT_FALSE(task.sample({.ranks = ranks.share(), .should_stop = should_stop}).has_value());
    EXPECT_EQ(num_asked, 2);
  });
}

TEST_P(RunOnRanks, EvaluateAPassThatIsNobodysTurn) {
  config::Config own = config("run");
  own.train.micro_batch_size = 1;
  own.model.init_std = 0.5;  // tokens get different numbers of experts before any training
  double alone = 0.0;
  std::string difficulty;
  for (const std::int64_t num_ranks : {1, 3}) {  // whose number does not divide that of the passes
    comm::run_ranks(num_ranks, [&](comm::Communicator& world) {
      const Build parts = build(own);
      RunRanks ranks(world);
      NextTokenTask task(parts.config, *parts.decoder, parts.training, &*parts.validation);
      const auto record = task.evaluate({.step = 0, .ranks = ranks.share()});
      ASSERT_TRUE(record.has_value());
      ASSERT_TRUE(record->difficulty.has_value());
      const std::string counts = telemetry::to_json(*record->difficulty).dump();
      if (num_ranks == 1) {
        alone = record->loss;
        difficulty = counts;
      }
      EXPECT_EQ(record->loss, alone) << "passes of equal size: the same bits";
      EXPECT_EQ(counts, difficulty);
    });
  }
  EXPECT_GT(alone, 0.0);
}

TEST_P(RunOnRanks, RefuseExpertsOfAnotherModel) {
  (void)pretrain_in(config("run"), {2, 2});
  config::Config fewer = in_layout(config("run"), {2, 2});
  fewer.model.moe.num_experts = 2;
  std::string message;
  try {
    comm::run_ranks(2, [&](comm::Communicator& world) {
      parallel::RankGroups groups(world, 2);
      const Build parts = build(fewer, parallel::expert_placement(groups, 2));
      load_weights(*parts.decoder, checkpoint::Checkpoint::open(step("run", 4)).weights());
    });
  } catch (const DataError& error) {
    message = error.what();
  }
  EXPECT_THAT(message, HasSubstr("experts.3."));
}

}  // namespace
}  // namespace switchyard::train
