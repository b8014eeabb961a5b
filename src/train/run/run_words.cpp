#include "train/run/run_words.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "ops/flash_attention.h"
#include "switchyard/core/error.h"
#include "switchyard/core/log.h"
#include "switchyard/core/terminal.h"
#include "switchyard/core/text.h"
#include "switchyard/model/parameter_counts.h"
#include "switchyard/moe/expert_compute.h"
#include "switchyard/ops/device.h"
#include "switchyard/ops/precision.h"
#include "switchyard/optim/schedule.h"
#include "train/run/resume_point.h"

namespace switchyard::train {

void announce(const std::string& run, const config::Config& config, Task& task,
              const Environment& environment, const parallel::RankLayout& layout) {
  const model::ParameterCounts counts = model::count_parameters(task.model());
  const auto activated = [&counts](double k) { return format_count(counts.activated(k)); };
  log::info("run {}: {} parameters{}, {}", run, format_count(static_cast<double>(counts.total)),
            counts.num_moe_layers == 0 ? std::string()
                                       : fmt::format(" ({} / {} used per token at 1 / 2 experts)",
                                                     activated(1.0), activated(2.0)),
            task.describe_samples());
  if (layout.num_ranks > 1) {
    log::info("ranks: {}, {}", layout.num_ranks,
              layout.expert == 1
                  ? std::string("each with all experts")
                  : fmt::format("the experts split over groups of {}", layout.expert));
  }
  const double peak = environment.peak_flops / 1e9;
  log::info("threads: {} on {}, {}{}; {} of {} tokens", environment.facts.at("threads"),
            environment.facts.at("cpu"), config.train.precision,
            peak > 0.0 ? fmt::format(" peak {:.0f} GFLOP/s ({})", peak,
                                     environment.facts.at("peak_flops_source"))
                       : "",
            counted(config.train.steps, "step"),
            format_count(
                static_cast<double>(config.train.global_batch_size * config.data.sequence_length)));
}

void warn_of_a_schedule_that_ended(const config::Config& config, std::int64_t first_step) {
  const std::int64_t end = config.schedule.steps;
  const std::int64_t steps = config.train.steps;
  if (end == 0 || end >= steps || config.optim.learning_rate == 0.0) return;
  const optim::Schedule schedule(config.schedule, config.optim.learning_rate, steps);
  const double rate = schedule.learning_rate(steps);
  constexpr double kAsGoodAsNothing = 1e-6;  // of the largest
  if (rate > kAsGoodAsNothing * config.optim.learning_rate) return;
  log::warning(
      "the schedule ends at step {}: from step {} on the learning rate is {:.3g} and nothing is "
      "learned; schedule.steps={}{} stretches it",
      end, std::max(end, first_step + 1), rate, steps,
      first_step > 0 ? " --allow-change schedule.steps" : "");
}

void warn_of_a_slow_precision(const Environment& environment) {
  constexpr double kClearlyFaster = 1.25;  // on a machine that does other things too
  const double bf16 = environment.measured_peak_flops;
  const double fp32 = environment.fp32_peak_flops;
  if (bf16 <= 0.0 || fp32 < kClearlyFaster * bf16) return;
  log::warning(
      "this CPU computes {:.0f} GFLOP/s in bf16 and {:.0f} in fp32: train.precision=fp32 is faster "
      "here",
      bf16 / 1e9, fp32 / 1e9);
}

std::vector<std::string> slow_on_gpu(const config::Config& config, at::Device gpu,
                                     const parallel::RankLayout& layout) {
  std::vector<std::string> lines;
  const config::ModelConfig& model = config.model;
  const ops::PrecisionPolicy policy = ops::precision_policy(config.train.precision, gpu);
  if (policy.compute == at::kFloat) {
    return {
        "fp32 leaves the tensor cores of the GPU unused: train.precision=bf16 is many times "
        "faster"};
  }
  if (policy.compute != at::kBFloat16) return lines;  // fp64: to verify
  if (!ops::has_flash_kernel(policy.compute, model.head_dim)) {
    lines.push_back(
        fmt::format("flash attention takes heads of 8 to 256 elements in steps of 8, and "
                    "model.head_dim is {}: another kernel takes many times as long",
                    model.head_dim));
  }
  if (model.moe.layers.empty()) return lines;
  const moe::ExpertProblem problem{.dtype = policy.compute,
                                   .device = gpu,
                                   .hidden_size = model.hidden_size,
                                   .expert_size = model.moe.expert_size,
                                   .num_experts = model.moe.num_experts / layout.expert};
  if (model.moe.compute != "auto") {
    const moe::Support support =
        moe::make_expert_compute(model.moe.compute, problem)->supports(problem);
    if (!support.slow_because.empty()) {
      lines.push_back(fmt::format("model.moe.compute is {}: {}; auto chooses the fastest",
                                  model.moe.compute, support.slow_because));
    }
    return lines;
  }
  try {
    (void)moe::make_expert_compute("grouped_mm", problem);
  } catch (const UsageError& error) {
    lines.push_back(fmt::format("experts are computed one by one: {}", error.what()));
  }
  return lines;
}

void warn_of_slow_gpu_settings(const config::Config& config, const parallel::RankLayout& layout) {
  if (config.train.device != "cuda") return;
  const at::Device gpu = ops::device_of(config.train.device);
  for (const std::string& line : slow_on_gpu(config, gpu, layout)) log::warning("{}", line);
}

void warn_of_other_bits(const std::map<std::string, std::string>& then,
                        const std::map<std::string, std::string>& now,
                        const config::Config& config) {
  const std::vector<std::string> differences = differences_of_environment(then, now);
  for (const std::string& line : differences) {
    log::warning("{}: the run goes on, but not bit for bit as if it had not stopped", line);
  }
  if (differences.empty() && config.train.device == "cuda" && !config.train.deterministic) {
    log::info(
        "the run goes on, but not bit for bit as if it had not stopped: on a GPU that takes "
        "train.deterministic=true from the beginning");
  }
}

void tell_end(const std::string& run, const Task& task, const CheckpointKeeper& checkpoints,
              const RunEnd& end) {
  if (const std::int64_t num_steps = end.step - end.first_step; num_steps > 0) {
    log::info("done: {}, {} tokens in {} ({} tok/s)", counted(num_steps, "step"),
              format_count(static_cast<double>(end.num_tokens)), format_duration(end.seconds),
              format_count(static_cast<double>(end.num_tokens) / end.seconds));
  } else if (end.stopped_early) {
    log::info(
        "done already: the run stopped early at step {}; a larger "
        "train.early_stop_patience goes on",
        end.step);
  } else {
    log::info("done already: {} of {} made; train.steps=N goes on", end.step,
              counted(end.total_steps, "step"));
  }
  log::info("weights: {}", checkpoints.describe_saved());
  if (const std::filesystem::path best = checkpoints.best(); !best.empty()) {
    log::info("best:    {}", best.string());
  }
  const char* heading = "next:   ";
  for (const std::string& command : task.next_commands(run)) {
    log::info("{} {}", std::exchange(heading, "        "), command);
  }
}

}  // namespace switchyard::train
