// How many bytes one training process holds, computed from a configuration without allocating
// anything of the model. docs/architecture.md, "What a step keeps in memory", derives the formulas;
// tests/train/training_memory_test.cpp compares them with what an allocator counts.
//
// Counted are tensors: not the program itself (PlanOptions::program_bytes), not the kernels' own
// buffers (a few megabytes per thread), not what an allocator loses to fragments.
#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "switchyard/config/config.h"

namespace switchyard::plan {

// Bytes are doubles: exact far beyond any machine, and no configuration can overflow them.

// The same in every step.
struct StateBytes {
  double weights = 0.0;    // what the forward pass reads, in the compute dtype
  double masters = 0.0;    // 0 where the weights themselves are the masters
  double gradients = 0.0;  // the sums over micro-batches
  double moments = 0.0;    // Adam's two
  [[nodiscard]] double total() const { return weights + masters + gradients + moments; }
};

// What the graph of one micro-batch holds between its forward and its backward pass.
struct KeptBytes {
  double residual = 0.0;   // the residual stream, and the norms' outputs and factors
  double attention = 0.0;  // projections, rotated queries and keys, result, log-sum-exp
  double dense = 0.0;      // dense MLPs
  double router = 0.0;     // logits, softmax sums and the integers of the route
  double experts = 0.0;    // gate and up of every routed row
  double head = 0.0;       // last norm, and the gradients that the fused loss computes ahead
  [[nodiscard]] double total() const {
    return residual + attention + dense + router + experts + head;
  }
};

struct MemoryUse {
  double batches = 0.0;  // tokens, labels, positions of all micro-batches of the step
  KeptBytes kept{};
  // Beyond state, batches and `kept`, at the moment of the step when most is held: buffers of the
  // pass under way, gradients not yet added to their sums, with recompute the block at work.
  double working = 0.0;
  double logits = 0.0;  // of the tokens whose logits exist at a time; part of `working` or less
  // What passes without gradients hold, while nothing of the above is: an evaluation's, of a
  // micro-batch or less, and a sample's, with keys and values of a whole window.
  double evaluation = 0.0;
  double sample = 0.0;
  [[nodiscard]] double step() const { return batches + kept.total() + working; }
  [[nodiscard]] double total() const { return std::max({step(), evaluation, sample}); }
};

enum class Device { cpu, gpu };

struct MemorySetting {
  std::int64_t micro_batch_size = 1;  // sequences
  bool recompute = false;
  Device device = Device::cpu;
  std::vector<double> experts_per_token_L{};  // realised k of each layer; ignored in dense layers
};

struct BlockShape;

class TrainingMemory {
 public:
  // Uses config.model (with its vocabulary size), .data.sequence_length, .train.precision and
  // .train.global_batch_size; `num_threads`: of a training on the CPU, where each computes an
  // expert of its own. Throws UsageError for a model whose tensors no memory can hold.
  TrainingMemory(const config::Config& config, int num_threads);

  [[nodiscard]] const StateBytes& state() const { return state_; }
  [[nodiscard]] const StateBytes& experts_state() const { return experts_state_; }
  // Beside the state. Grows with the micro-batch size and with each k.
  [[nodiscard]] MemoryUse use(const MemorySetting& setting) const;
  // The most sequences in [1, limit] with state and use within `bytes`; 0 = not even one.
  // setting.micro_batch_size is ignored.
  [[nodiscard]] std::int64_t largest_micro_batch(MemorySetting setting, double bytes,
                                                 std::int64_t limit) const;
  // The experts' implementation there (model.moe.compute, or what it stands for); empty without
  // experts.
  [[nodiscard]] std::string experts_on(Device device) const;

 private:
  [[nodiscard]] BlockShape shape(const MemorySetting& setting, std::int64_t num_sequences) const;

  config::ModelConfig model_;
  at::ScalarType compute_;
  std::int64_t sequence_length_;
  std::int64_t global_batch_size_;
  int num_threads_;
  StateBytes state_;
  StateBytes experts_state_;  // a part of it
  // Of parameters whose gradients autograd collects until the end of a micro-batch's backward
  // pass: all but the experts and the tables, which add to their sums directly.
  std::vector<double> gradients_in_flight_L_;
};

}  // namespace switchyard::plan
