// A trainable tensor: what the forward pass reads, the master copy the optimizer updates, the
// buffer gradients are summed into, the names under which files know its parts, and the ranks that
// hold the same.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "switchyard/ops/precision.h"

namespace switchyard::ops {

// A part of a parameter as files name it, e.g. `model.layers.3.moe.experts.5.up_proj.weight`,
// whatever the in-memory stacking and the number of ranks: what this rank holds of it begins at
// `offset` in the flattened parameter.
struct LogicalTensor {
  // Elements begin .. begin + count of the flattened tensor; begin is a multiple of 4.
  struct Slice {
    std::int64_t begin = 0;
    std::int64_t count = 0;
  };
  std::string name;
  std::int64_t offset = 0;
  std::vector<std::int64_t> shape;  // of the whole tensor
  std::optional<Slice> slice = {};  // none: this rank holds all of it
  [[nodiscard]] Slice held() const;
};

// The ranks that hold the same elements of a parameter and add up their gradients.
enum class ReplicaGroup {
  all_ranks,
  expert_replicas,  // those that hold the same experts
};

enum class Initializer { normal, zeros, ones };

struct Parameter {
  std::string name;                  // in memory, e.g. `model.layers.3.moe.experts.w1`
  std::vector<LogicalTensor> parts;  // cover the parameter exactly, in order
  Initializer initializer = Initializer::normal;
  double init_std = 0.0;
  bool decay = true;       // weight decay applies
  bool is_expert = false;  // dim 0 is the expert
  ReplicaGroup replicas = ReplicaGroup::all_ranks;

  at::Tensor value;   // compute dtype leaf that requires grad; the forward pass reads it
  at::Tensor master;  // accumulation type; the same tensor storage as value when dtypes agree
  at::Tensor grad;    // accumulation type, the sum over micro-batches; allocated by zero_grad

  [[nodiscard]] std::int64_t numel() const { return value.numel(); }
};

struct ParameterSpec {
  std::string name = {};
  std::vector<std::int64_t> shape = {};
  std::vector<LogicalTensor> parts = {};  // empty: one part named `name` with `shape`
  Initializer initializer = Initializer::normal;
  double init_std = 0.02;
  bool decay = true;
  bool is_expert = false;
  ReplicaGroup replicas = ReplicaGroup::all_ranks;
  bool keep_accumulation_type = false;  // routers and norms compute in it always
};

// Allocates value and master (uninitialised; nothing for kMeta).
[[nodiscard]] Parameter make_parameter(const ParameterSpec& spec, const PrecisionPolicy& policy);

// Fills the master from (seed, part name, element index inside the part) alone, then the value.
void initialize(Parameter& parameter, std::uint64_t seed);

// master -> value (rounding), after an update or a load.
void publish(Parameter& parameter);

// Allocates the gradient buffer if needed and sets it to zero; clears value.grad().
void zero_grad(Parameter& parameter);

// After each micro-batch's backward: adds value.grad() to `grad` and clears it.
void collect_grad(Parameter& parameter);

}  // namespace switchyard::ops
