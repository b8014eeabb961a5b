// `switchyard plan`: what a run will need, before it is started.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "switchyard/config/config.h"
#include "switchyard/model/parameter_counts.h"
#include "switchyard/model/throughput.h"
#include "switchyard/plan/training_memory.h"

namespace switchyard::plan {

// What a plan supposes about the routers' choice.
struct ExpertsPerToken {
  std::string name;         // "expected", "untrained", "worst case"
  std::vector<double> k_L;  // of each layer; 0 in dense ones
  double mean = 0.0;        // over the MoE layers; 0 without any
  std::string reason{};     // one line
};

// Expected first. Only those that differ from the one before:
//   expected    what the router's descriptor expects; `given` replaces it in every layer
//   untrained   what it gives in the first steps. Left out when k is given.
//   worst case  every token takes all it may
// Empty for a model without experts. Throws UsageError for a `given` that no router of the
// model gives, or in a model without experts.
[[nodiscard]] std::vector<ExpertsPerToken> suppose_experts_per_token(
    const config::ModelConfig& model, std::optional<double> given);

struct PlanOptions {
  std::optional<double> experts_per_token{};
  // How fast: a throughput, or a peak (FLOP/s) of which a share (MFU) is used.
  std::optional<double> tokens_per_second{};
  std::optional<double> peak_flops{};
  std::string peak_source = "measured product";  // where peak_flops is from
  double flop_use = 0.3;
  std::optional<double> fits_bytes{};
  int num_threads = 1;  // of a training on the CPU
  // Resident before a model is made: the program, its libraries, their buffers.
  double program_bytes = 0.0;
};

// Micro-batch sizes within a memory limit.
struct Fitting {
  std::int64_t largest = 0;  // at most the global batch; 0 = not even one sequence
  std::int64_t usable = 0;   // the largest of them that divides the global batch
};

// Under one supposition.
struct PlannedUse {
  ExpertsPerToken experts;
  double used_parameters = 0.0;  // matrix parameters that a token uses; the embedding not counted
  double flops_per_token = 0.0;  // forward and backward, as MFU counts them (throughput.h)
  struct OnDevice {
    MemoryUse memory{};
    double total = 0.0;  // with the state, and on a CPU the program
    std::optional<Fitting> fitting{};
  };
  [[nodiscard]] const OnDevice& on(Device device, bool recompute) const {
    return by_device.at(recompute ? 1 : 0).at(static_cast<std::size_t>(device));
  }
  std::array<std::array<OnDevice, 2>, 2> by_device{};  // [recompute][device]
  std::optional<double> seconds{};  // of all steps, without evaluations and checkpoints
};

struct Plan {
  config::Config config;  // vocabulary size filled in
  model::ParameterCounts parameters{};
  StateBytes state{};
  StateBytes experts_state{};          // the experts' part of it
  double dense_flops_per_token = 0.0;  // of all that is not the experts
  std::string experts_on_cpu{};        // implementation; empty without experts
  std::string experts_on_gpu{};
  std::vector<PlannedUse> uses{};  // one with k = 0 for a model without experts
  double tokens_per_step = 0.0;
  double tokens = 0.0;
  double checkpoint_bytes = 0.0;
  double save_copy_bytes = 0.0;      // in the host's memory, of train.async_save
  std::int64_t num_checkpoints = 0;  // at most at a time
  std::optional<std::int64_t> windows_per_epoch{};
  PlanOptions options{};
};

// Allocates no weights. Reads the prepared data if it is there: for the vocabulary size, if the
// config leaves it to the tokenizer, and for the epochs. Throws UsageError when the vocabulary size
// stays unknown or the data does not fit the config, DataError for damaged data.
[[nodiscard]] Plan make_plan(const config::Config& config, const PlanOptions& options);

}  // namespace switchyard::plan
