#include "verify/memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "switchyard/core/error.h"
#include "switchyard/core/terminal.h"
#include "switchyard/core/text.h"
#include "switchyard/model/parameter_counts.h"
#include "switchyard/ops/precision.h"

namespace switchyard::verify {
namespace {

// The experts of a token in one layer: an entry of a map of vectors.
constexpr double kBytesPerChoice = 128.0;

std::string text_of_bytes(double bytes) {
  return format_bytes(static_cast<std::uint64_t>(std::min(bytes, 0x1p63)));
}

// 0 = it does not tell.
std::uint64_t available_bytes(const HostFacts& host) {
  const std::uint64_t available =
      host.available_memory_bytes == 0 ? host.memory_bytes : host.available_memory_bytes;
  return std::min(available, host.memory_limit_bytes.value_or(kUnlimited));
}

}  // namespace

MemoryNeed memory_need(const config::Config& config, const Layout& layout) {
  const model::ParameterCounts counts = model::count_parameters(config.model);
  const auto total = static_cast<double>(counts.total);
  const double experts = static_cast<double>(counts.per_expert) *
                         static_cast<double>(config.model.moe.num_experts) *
                         static_cast<double>(counts.num_moe_layers);
  const auto num_ranks = static_cast<double>(layout.num_ranks);
  const double held = total - experts + experts / static_cast<double>(layout.expert);
  const bool shares_out = config.parallel.shares_out_moments(layout.num_ranks);
  const double updated = shares_out ? total / num_ranks : held;
  // Of each rank: weights and gradients, two moments, and the sums of its part of the gradients.
  const double numbers = num_ranks * (2.0 * held + (shares_out ? 3.0 : 2.0) * updated);
  const double choices = static_cast<double>(config.train.global_batch_size) *
                         static_cast<double>(config.data.sequence_length) *
                         static_cast<double>(counts.num_moe_layers);
  // The weights are the masters.
  const auto number = static_cast<double>(
      c10::elementSize(ops::precision_policy(config.train.precision).accumulation()));
  // Gradients and parameters, whole, of one rank alone and of the layout.
  return {.state = numbers * number,
          .each_step = 2.0 * (2.0 * total * number + choices * kBytesPerChoice)};
}

void check_memory(const config::Config& config, const VerifyOptions& options,
                  const HostFacts& host) {
  const std::uint64_t available = available_bytes(host);
  if (available == 0) return;
  const double room = static_cast<double>(available) + static_cast<double>(host.swap_bytes);
  double fitting = static_cast<double>(options.steps);
  const Layout* largest = nullptr;  // of those that do not fit
  MemoryNeed most;
  for (const Layout& layout : options.layouts) {
    const MemoryNeed need = memory_need(config, layout);
    if (need.of_steps(options.steps) <= room) continue;
    fitting = std::min(fitting, std::floor((room - need.state) / need.each_step));
    if (largest != nullptr && need.state <= most.state) continue;
    largest = &layout;
    most = need;
  }
  if (largest == nullptr) return;
  throw OutOfMemoryError(
      fmt::format(
          "layout {}: {} would take {}: {} for weights, gradients and moments, and {} for each "
          "step, whose gradients, parameters and choices are kept until they are compared "
          "with those of one rank; this machine has {} of memory{} available",
          largest->name(), counted(options.steps, "step"),
          text_of_bytes(most.of_steps(options.steps)), text_of_bytes(most.state),
          text_of_bytes(most.each_step), format_bytes(available),
          host.swap_bytes == 0 ? "" : " and " + format_bytes(host.swap_bytes) + " of swap"),
      fitting >= 1.0
          ? fmt::format("--steps {} is the most that fits", static_cast<std::int64_t>(fitting))
          : "not even one step fits: choose a smaller model, or layouts of fewer ranks");
}

}  // namespace switchyard::verify
