// Whole training steps on random tokens, taken one at a time on demand, so that another program
// (tools/bench/compare_transformers.py) can alternate them with a peer's.
//   train_step_benchmark [key.sub=value ...] < commands
// Config keys as for `switchyard pretrain`. First one line of JSON about the model; then, for each
// line read, one step and one line about it, with the seconds of "ops" that exist only because
// tokens are routed (switchyard/ops/op_span.h). Ends with its input.
#include <ATen/record_function.h>
#include <fmt/format.h>

#include <chrono>
#include <ctime>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "switchyard/comm/self.h"
#include "switchyard/config/load.h"
#include "switchyard/core/error.h"
#include "switchyard/core/philox.h"
#include "switchyard/core/timing.h"
#include "switchyard/model/decoder.h"
#include "switchyard/model/parameter_counts.h"
#include "switchyard/ops/backend.h"
#include "switchyard/ops/device.h"
#include "switchyard/ops/peak_flops.h"
#include "switchyard/parallel/rank_groups.h"
#include "switchyard/train/build.h"
#include "switchyard/train/trainer.h"
#include "train/tasks/next_token_task.h"

namespace switchyard::train {
namespace {

// The text of a run that reads nothing.
constexpr const char* kConfig = R"(
run: {dir: none}
data: {path: none, sequence_length: 128}
model:
  vocab_size: 4096
  hidden_size: 256
  num_layers: 4
  num_heads: 8
  moe:
    num_experts: 8
    expert_size: 704
    router: {type: top_k, k: 2}
optim: {learning_rate: 1e-4, clip_norm: 1.0}
train: {steps: 1000000, global_batch_size: 8, micro_batch_size: 8}
)";

NextTokenData random_windows(std::int64_t vocab_size, std::int64_t sequence_length) {
  return {.window = [=](std::int64_t idx) {
    data::Sample sample;
    for (std::int64_t i = 0; i <= sequence_length; ++i) {
      const PhiloxCounter random = philox(
          philox_key(1), {static_cast<std::uint32_t>(idx), static_cast<std::uint32_t>(i), 0, 0});
      sample.token.push_back(static_cast<std::int32_t>(random[0] % vocab_size));
    }
    return sample;
  }};
}

using Clock = std::chrono::steady_clock;

// Seconds by OpSpan. But for phases the spans do not nest, and all end on this thread, as a CPU's
// backward does. On a GPU they are the time that the host spends on queueing.
std::map<std::string, double> op_seconds;

struct OpStart : at::ObserverContext {
  Clock::time_point time = Clock::now();
};

void observe_ops() {
  at::addGlobalCallback(at::RecordFunctionCallback(
                            [](const at::RecordFunction&) -> std::unique_ptr<at::ObserverContext> {
                              return std::make_unique<OpStart>();
                            },
                            [](const at::RecordFunction& op, at::ObserverContext* context) {
                              const auto* start = static_cast<const OpStart*>(context);
                              op_seconds[op.name()] += seconds_since(start->time);
                            })
                            .scopes({at::RecordScope::USER_SCOPE}));
}

void run(const std::vector<std::string>& overrides) {
  observe_ops();
  ops::set_up_threads();
  const config::Config config = config::load_text(kConfig, "benchmark", overrides).config;
  model::Decoder decoder(
      config.model, config.data.sequence_length,
      ops::precision_policy(config.train.precision, ops::device_of(config.train.device)));
  decoder.initialize(config.run.seed);
  const auto communicator = comm::make_self_communicator();
  parallel::RankGroups groups(*communicator, config.parallel.expert);
  NextTokenObjective objective(
      decoder, random_windows(config.model.vocab_size, config.data.sequence_length));
  Trainer trainer(config, decoder, objective, groups);
  const model::ParameterCounts counts = model::count_parameters(config.model);
  std::cout << fmt::format(R"({{"parameters": {}, "tokens": {}}})", counts.total,
                           config.train.global_batch_size * config.data.sequence_length)
            << std::endl;
  for (std::string line; std::getline(std::cin, line);) {
    trainer.phases().reset();
    ops::synchronize(decoder.device());
    const Clock::time_point start = Clock::now();
    const std::clock_t cpu_start = std::clock();
    const telemetry::StepSums sums = trainer.train_step();
    ops::synchronize(decoder.device());  // the update is only queued when a step returns
    const double seconds = seconds_since(start);
    const double cpu_seconds = static_cast<double>(std::clock() - cpu_start) / CLOCKS_PER_SEC;
    const double k = telemetry::experts_per_token(sums);
    std::string phases;
    std::string ops;
    for (const auto& [name, op_time] : op_seconds) {
      if (trainer.phases().spans().contains(name)) continue;  // phases are spans too
      ops += fmt::format(R"({}"{}": {:.6f})", ops.empty() ? "" : ", ", name, op_time);
    }
    op_seconds.clear();
    for (const auto& [name, elapsed] : trainer.phases().spans()) {
      phases +=
          fmt::format(R"(, "{}": {:.6f})", name, std::chrono::duration<double>(elapsed).count());
    }
    std::cout << fmt::format(
                     R"({{"seconds": {:.6f}, "cpu_seconds": {:.6f}, "loss": {:.5f}, "k": {:.4f}, )"
                     R"("activated": {:.0f}, "ops": {{{}}}{}}})",
                     seconds, cpu_seconds, sums.lm_loss, k, counts.activated(k), ops, phases)
              << std::endl;
  }
}

}  // namespace
}  // namespace switchyard::train

int main(int argc, char** argv) {
  try {
    switchyard::train::run({argv + 1, argv + argc});
  } catch (const std::exception& error) {
    std::cerr << "train_step_benchmark: " << error.what() << std::endl;
    return 1;
  }
}
