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

// Of the whole model: as it computes with them, and, where that is another type, the masters.
double weight_bytes(const config::Config& config) {
  const ops::PrecisionPolicy policy = ops::precision_policy(config.train.precision, at::kCPU);
  const auto compute = static_cast<double>(c10::elementSize(policy.compute));
  const auto accumulation = static_cast<double>(c10::elementSize(policy.accumulation()));
  return static_cast<double>(model::count_parameters(config.model).total) *
         (accumulation + (compute == accumulation ? 0.0 : compute));
}

struct Need {
  std::string what;  // "the model's weights"
  double bytes = 0.0;
  std::string on = {};  // " on 2 ranks"
  std::string hint;
};

std::string words_of(const Need& need, const char* where) {
  return fmt::format("{} take {}{}, and {} has", need.what,
                     format_bytes(static_cast<std::uint64_t>(std::min(need.bytes, 0x1p63))),
                     need.on, where);
}

void check_fits_gpu(const Need& need, std::uint64_t gpu_bytes) {
  if (need.bytes <= static_cast<double>(gpu_bytes)) return;
  throw OutOfMemoryError(fmt::format("{} {}", words_of(need, "the GPU"), format_bytes(gpu_bytes)),
                         need.hint);
}

// `waits`: what swapping makes slow.
void check_fits(const Need& need, const HostFacts& host, const char* waits) {
  const std::uint64_t memory =
      std::min(host.memory_bytes, host.memory_limit_bytes.value_or(kUnlimited));
  if (memory == 0 || need.bytes <= static_cast<double>(memory)) return;
  const std::string what =
      fmt::format("{} {}{}", words_of(need, "this machine"), format_bytes(memory),
                  host.swap_bytes == 0 ? "" : " and " + format_bytes(host.swap_bytes) + " of swap");
  if (need.bytes > static_cast<double>(memory) + static_cast<double>(host.swap_bytes)) {
    throw OutOfMemoryError(what, need.hint);
  }
  log::warning("{}: every {} will wait for the swap, which may take minutes each", what, waits);
}

constexpr const char* kState = "the model's weights, gradients and moments";
constexpr const char* kWeights = "the model's weights";

}  // namespace

void check_state_fits_gpu(const config::Config& config, const RankEnvironment& ranks,
                          std::uint64_t gpu_bytes) {
  check_fits_gpu({.what = kState,
                  .bytes = state_bytes(config, ranks.num_ranks),
                  .on = ranks.num_ranks == 1 ? "" : " on each rank",
                  .hint = "choose a smaller model, or share it out among more ranks "
                          "(parallel.expert); `switchyard plan` shows what takes how much"},
                 gpu_bytes);
}

void check_state_fits(const config::Config& config, const HostFacts& host,
                      const RankEnvironment& ranks) {
  check_fits(
      {.what = kState,
       .bytes = static_cast<double>(ranks.num_local_ranks) * state_bytes(config, ranks.num_ranks),
       .on = ranks.num_local_ranks == 1 ? "" : " on " + counted(ranks.num_local_ranks, "rank"),
       .hint = "choose a smaller model; `switchyard plan` shows what takes how much"},
      host, "step");
}

void check_weights_fit_gpu(const config::Config& config, std::uint64_t gpu_bytes) {
  check_fits_gpu({.what = kWeights,
                  .bytes = weight_bytes(config),
                  .hint = "compute where there is more memory: on a larger GPU, or on the CPU"},
                 gpu_bytes);
}

void check_weights_fit(const config::Config& config, const HostFacts& host) {
  check_fits({.what = kWeights,
              .bytes = weight_bytes(config),
              .hint = "compute where there is more memory, or choose a smaller model"},
             host, "pass");
}

}  // namespace switchyard::train
