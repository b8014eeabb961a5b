#include "switchyard/plan/page.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <utility>

#include "switchyard/core/terminal.h"
#include "switchyard/core/text.h"
#include "switchyard/ops/linear_cross_entropy.h"
#include "switchyard/train/build.h"
#include "train/run/checkpoint_keeper.h"

namespace switchyard::plan {
namespace {

constexpr int kLabelWidth = 38;
constexpr int kNumberWidth = 12;

std::string bytes(double value) {
  return format_bytes(static_cast<std::uint64_t>(std::clamp(value, 0.0, 0x1p63)));
}

// 4.13e9
std::string flops(double value) {
  const int exponent = value > 0.0 ? static_cast<int>(std::floor(std::log10(value))) : 0;
  return fmt::format("{:.2f}e{}", value / std::pow(10.0, exponent), exponent);
}

class Page {
 public:
  explicit Page(const Plan& plan) : plan_(plan), config_(plan.config) {}

  std::string write() {
    head();
    parameters();
    per_token();
    memory();
    if (plan_.options.fits_bytes) fitting();
    run();
    return std::move(text_);
  }

 private:
  using Number = std::function<std::string(const PlannedUse& use)>;

  void line(const std::string& text) { text_ += text + "\n"; }

  void row(const std::string& label, const std::string& value, const std::string& note = {}) {
    line(fmt::format("{:<{}}{:>{}}{}", label, kLabelWidth, value, kNumberWidth,
                     note.empty() ? note : "  " + note));
  }

  // One number for each supposition.
  void row(const std::string& label, const Number& number) {
    std::string text = fmt::format("{:<{}}", label, kLabelWidth);
    for (const PlannedUse& use : plan_.uses) {
      text += fmt::format("{:>{}}", number(use), kNumberWidth);
    }
    line(text);
  }

  void title(const std::string& label) {
    text_ += "\n";
    row(label,
        [this](const PlannedUse& use) { return has_experts() ? use.experts.name : std::string(); });
  }

  [[nodiscard]] bool has_experts() const { return plan_.parameters.num_moe_layers > 0; }

  void head() {
    const config::ModelConfig& model = config_.model;
    line(fmt::format("{}, hidden {}, vocabulary {}; {}, windows of {}",
                     counted(model.num_layers, "layer"), model.hidden_size, model.vocab_size,
                     config_.train.precision, counted(config_.data.sequence_length, "token")));
  }

  void parameters() {
    const model::ParameterCounts& counts = plan_.parameters;
    const auto count = [](std::int64_t number) {
      return format_count(static_cast<double>(number));
    };
    const std::int64_t experts =
        counts.per_expert * counts.num_moe_layers * config_.model.moe.num_experts;
    text_ += "\n";
    row("parameters", count(counts.total));
    row("  embedding", count(counts.embedding),
        config_.model.tie_embeddings ? "is the output head as well" : "");
    if (!config_.model.tie_embeddings) row("  output head", count(counts.head));
    row("  dense", count(counts.total - counts.embedding - counts.head - experts),
        !has_experts() ? "attention, norms, MLPs"
        : config_.model.moe.shared_expert_size > 0
            ? "attention, routers, dense MLPs, shared experts"
            : "attention, norms, routers, dense MLPs");
    if (!has_experts()) return;
    row("  experts", count(experts),
        fmt::format("{} of {}; one expert has {}", counted(counts.num_moe_layers, "layer"),
                    config_.model.moe.num_experts, count(counts.per_expert)));
  }

  void per_token() {
    title("per token");
    if (has_experts()) {
      row("  experts (mean over MoE layers)",
          [](const PlannedUse& use) { return fmt::format("{:.3g}", use.experts.mean); });
    }
    row("  matrix parameters used",
        [](const PlannedUse& use) { return format_count(use.used_parameters); });
    row("  FLOPs, forward and backward",
        [](const PlannedUse& use) { return flops(use.flops_per_token); });
    if (!has_experts()) return;
    for (const PlannedUse& use : plan_.uses) {
      line(fmt::format("  {}: {}", use.experts.name, use.experts.reason));
    }
    if (!plan_.options.experts_per_token && plan_.uses.size() > 1) {
      line("  --experts-per-token K expects another number");
    }
  }

  void state() {
    const StateBytes& state = plan_.state;
    const std::string sums = config_.train.precision == "fp64" ? "fp64" : "fp32";
    const auto same = [this](const std::string& label, double value) {
      row(label, [value](const PlannedUse& /*use*/) { return bytes(value); });
    };
    same(fmt::format("  weights, {}", config_.train.precision), state.weights);
    if (state.masters > 0.0) same("  masters, " + sums, state.masters);
    same("  gradients, " + sums, state.gradients);
    same("  moments, " + sums, state.moments);
    same("  tokens and labels of a step", plan_.uses.front().on(Device::cpu, false).memory.batches);
    if (plan_.options.program_bytes > 0.0) {
      same("  this program (CPU)", plan_.options.program_bytes);
    }
    if (plan_.save_copy_bytes > 0.0) {
      same("  copy for train.async_save (CPU, or the GPU's host)", plan_.save_copy_bytes);
    }
  }

  // Instead of activations and what is at work: a pass without gradients.
  void passes_without_gradients() {
    const auto pass = [this](const std::string& label, double MemoryUse::*member) {
      row(label, [member](const PlannedUse& use) {
        return bytes(use.on(Device::cpu, false).memory.*member);
      });
    };
    line("  meanwhile, instead of activations:");
    pass("    evaluation", &MemoryUse::evaluation);
    pass("    sample, with a window's keys", &MemoryUse::sample);
  }

  void kept(bool recompute) {
    const auto part = [&](const std::string& label, double KeptBytes::*member) {
      const auto of = [member, recompute](const PlannedUse& use) {
        return use.on(Device::cpu, recompute).memory.kept.*member;
      };
      if (of(plan_.uses.back()) == 0.0) return;
      row("    " + label, [of](const PlannedUse& use) { return bytes(of(use)); });
    };
    row(fmt::format("  activations, train.recompute={}", recompute),
        [recompute](const PlannedUse& use) {
          return bytes(use.on(Device::cpu, recompute).memory.kept.total());
        });
    part(recompute ? "inputs of the blocks" : "residual stream, norms", &KeptBytes::residual);
    part("attention", &KeptBytes::attention);
    part("dense MLPs", &KeptBytes::dense);
    part(recompute ? "routes to replay" : "routers, routes", &KeptBytes::router);
    part("experts", &KeptBytes::experts);
    part("head and loss", &KeptBytes::head);
  }

  [[nodiscard]] std::string device_name(Device device) const {
    const std::string& experts =
        device == Device::cpu ? plan_.experts_on_cpu : plan_.experts_on_gpu;
    const std::string name = device == Device::cpu ? "CPU" : "GPU";
    return experts.empty() ? name : fmt::format("{}, {}", name, experts);
  }

  void totals(bool recompute) {
    const auto rows = [&](const std::string& label,
                          const std::function<double(const PlannedUse::OnDevice&)>& of) {
      for (const Device device : {Device::cpu, Device::gpu}) {
        row(fmt::format("{} ({})", label, device_name(device)),
            [&of, device, recompute](const PlannedUse& use) {
              return bytes(of(use.on(device, recompute)));
            });
      }
    };
    rows("    at work", [](const PlannedUse::OnDevice& on) { return on.memory.working; });
    rows("  = total", [](const PlannedUse::OnDevice& on) { return on.total; });
  }

  void memory() {
    title(fmt::format("memory, micro-batch of {}", config_.train.micro_batch_size));
    state();
    const bool configured = config_.train.recompute;
    for (const bool recompute : {configured, !configured}) {
      kept(recompute);
      totals(recompute);
    }
    passes_without_gradients();
    line(fmt::format(
        "  at work: most in use at a time, with logits of {} tokens ({}; GPU: of {}, {}).",
        ops::cross_entropy_chunk_tokens(/*on_gpu=*/false),
        bytes(plan_.uses.front().on(Device::cpu, false).memory.logits),
        ops::cross_entropy_chunk_tokens(/*on_gpu=*/true),
        bytes(plan_.uses.front().on(Device::gpu, false).memory.logits)));
    line(
        "  Not counted: the CUDA context, and what an allocator loses to fragments. The GPU's "
        "figures");
    line("  are computed, not yet measured.");
    if (config_.parallel.expert > 1) {
      line(
          fmt::format("  Of one process that has all experts and moments. parallel.expert is {}: "
                      "what a rank holds",
                      config_.parallel.expert));
      line(fmt::format("  is told by --layout RANKSx{}.", config_.parallel.expert));
    }
  }

  void fitting() {
    title(fmt::format("micro-batch within {}", bytes(*plan_.options.fits_bytes)));
    for (const bool recompute : {config_.train.recompute, !config_.train.recompute}) {
      line(fmt::format("  train.recompute={}", recompute));
      for (const Device device : {Device::cpu, Device::gpu}) {
        row(fmt::format("    {}", device_name(device)),
            [device, recompute](const PlannedUse& use) -> std::string {
              const Fitting& fitting = *use.on(device, recompute).fitting;
              if (fitting.largest == 0) return "none";
              if (fitting.largest == fitting.usable) return fmt::format("{}", fitting.usable);
              return fmt::format("{} ({})", fitting.usable, fitting.largest);
            });
      }
    }
    line(
        fmt::format("  The largest train.micro_batch_size that divides train.global_batch_size {} "
                    "(in brackets:",
                    config_.train.global_batch_size));
    line("  the most sequences that fit); none: not even one fits.");
  }

  void run() {
    const config::TrainConfig& train = config_.train;
    text_ += "\n";
    line("run");
    row("  steps", fmt::format("{}", train.steps),
        fmt::format("of {}, {} tokens", counted(train.global_batch_size, "sequence"),
                    format_count(plan_.tokens_per_step)));
    row("  tokens", format_count(plan_.tokens));
    if (plan_.windows_per_epoch) {
      const double epochs = train::count_epochs(config_, *plan_.windows_per_epoch);
      row("  epochs", fmt::format("{:.3g}", epochs),
          "of " + counted(*plan_.windows_per_epoch, "window"));
    } else {
      row("  epochs", "?", "the data is not prepared yet");
    }
    row("  checkpoints", bytes(plan_.checkpoint_bytes),
        fmt::format("each; at most {} at a time; one {}", plan_.num_checkpoints,
                    train.checkpoint_every > 0
                        ? "every " + counted(train.checkpoint_every, "step")
                        : fmt::format("in about {:g} min", train::kSecondsBetweenSaves / 60.0)));
    const double steps = static_cast<double>(train.steps);
    row("  FLOPs of a step", [this](const PlannedUse& use) {
      return flops(use.flops_per_token * plan_.tokens_per_step);
    });
    row("  FLOPs of the run", [this, steps](const PlannedUse& use) {
      return flops(use.flops_per_token * plan_.tokens_per_step * steps);
    });
    time();
  }

  void time() {
    const PlanOptions& options = plan_.options;
    if (!plan_.uses.front().seconds) {
      row("  time", "?", "--tokens-per-second N or --measure tells");
      return;
    }
    row("  time", [](const PlannedUse& use) { return format_duration(*use.seconds); });
    if (options.tokens_per_second) {
      line(fmt::format("  at {} tokens/s; evaluations and checkpoints come on top",
                       format_count(*options.tokens_per_second)));
      return;
    }
    line(fmt::format("  at an assumed {:.3g} % (--mfu) of {:.0f} GFLOP/s in {} ({})",
                     100.0 * options.flop_use, *options.peak_flops / 1e9, config_.train.precision,
                     options.peak_source));
    if (config_.train.recompute) line("  and a third more for train.recompute");
  }

  const Plan& plan_;
  const config::Config& config_;
  std::string text_;
};

}  // namespace

std::string plan_page(const Plan& plan) {
  return Page(plan).write();
}

}  // namespace switchyard::plan
