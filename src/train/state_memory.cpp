#include "train/state_memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <string>

#include "switchyard/core/error.h"
#include "switchyard/core/log.h"
#include "switchyard/core/terminal.h"
#include "switchyard/core/text.h"
#include "switchyard/model/parameter_counts.h"
#include "switchyard/ops/precision.h"

namespace switchyard::train {
namespace {

// Of one rank: its part of the experts, and of the moments where they are shared out.
double state_bytes(const config::Config& config, std::int64_t num_ranks) {
  const model::ParameterCounts counts = model::count_parameters(config.model);
  const double experts = static_cast<double>(counts.per_expert) *
                         static_cast<double>(config.model.moe.num_experts) *
                         static_cast<double>(counts.num_moe_layers);
  const double dense = static_cast<double>(counts.total) - experts;
  const double parameters = dense + experts / static_cast<double>(config.parallel.expert);
  const double with_moments =
      config.parallel.shares_out_moments(num_ranks)
          ? static_cast<double>(counts.total) / static_cast<double>(num_ranks)
          : parameters;
  const ops::PrecisionPolicy policy = ops::precision_policy(config.train.precision, at::kCPU);
  const auto compute = static_cast<double>(c10::elementSize(policy.compute));
  const auto accumulation = static_cast<double>(c10::elementSize(policy.accumulation()));
  // Masters, gradients and two moments; weights where they are no masters.
  return parameters * (2.0 * accumulation + (compute == accumulation ? 0.0 : compute)) +
         with_moments * 2.0 * accumulation;
}

std::string text_of_bytes(double bytes) {
  return format_bytes(static_cast<std::uint64_t>(std::min(bytes, 0x1p63)));
}

}  // namespace

void check_state_fits_gpu(const config::Config& config, const RankEnvironment& ranks,
                          std::uint64_t gpu_bytes) {
  const double needed = state_bytes(config, ranks.num_ranks);
  if (needed <= static_cast<double>(gpu_bytes)) return;
  throw OutOfMemoryError(
      fmt::format("the model's weights, gradients and moments take {}{}, and the GPU has {}",
                  text_of_bytes(needed), ranks.num_ranks == 1 ? "" : " on each rank",
                  format_bytes(gpu_bytes)),
      "choose a smaller model, or share it out among more ranks (parallel.expert); "
      "`switchyard plan` shows what takes how much");
}

void check_state_fits(const config::Config& config, const HostFacts& host,
                      const RankEnvironment& ranks) {
  const double needed =
      static_cast<double>(ranks.num_local_ranks) * state_bytes(config, ranks.num_ranks);
  const std::uint64_t memory =
      std::min(host.memory_bytes, host.memory_limit_bytes.value_or(kUnlimited));
  if (memory == 0 || needed <= static_cast<double>(memory)) return;
  const std::string what =
      fmt::format("the model's weights, gradients and moments take {}{}, and this machine has {}{}",
                  text_of_bytes(needed),
                  ranks.num_local_ranks == 1 ? "" : " on " + counted(ranks.num_local_ranks, "rank"),
                  format_bytes(memory),
                  host.swap_bytes == 0 ? "" : " and " + format_bytes(host.swap_bytes) + " of swap");
  if (needed > static_cast<double>(memory) + static_cast<double>(host.swap_bytes)) {
    throw OutOfMemoryError(what,
                           "choose a smaller model; `switchyard plan` shows what takes how much");
  }
  log::warning("{}: every step will wait for the swap, which may take minutes each", what);
}

}  // namespace switchyard::train
