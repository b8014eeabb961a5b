// Tensors that are named here are named as in the functions that make them: src/model/block.cpp,
// src/model/attention.cpp, src/ops, src/moe.
#include "switchyard/plan/training_memory.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>

#include "plan/block_memory.h"
#include "switchyard/config/router.h"
#include "switchyard/core/error.h"
#include "switchyard/model/make_model.h"
#include "switchyard/moe/expert_compute.h"
#include "switchyard/train/build.h"

namespace switchyard::plan {
namespace {

constexpr double kBatchBytesPerToken = 4 * sizeof(std::int64_t);  // token, label, position, index

double bytes_of(const at::Tensor& tensor) {
  return static_cast<double>(tensor.numel()) * static_cast<double>(tensor.element_size());
}

// "model.layers.7.mlp..." -> 7; the last layer for what comes after all of them.
std::size_t layer_of(const std::string& name, std::size_t num_layers) {
  constexpr std::string_view kPrefix = "model.layers.";
  if (!name.starts_with(kPrefix)) return num_layers - 1;
  return static_cast<std::size_t>(std::stoul(name.substr(kPrefix.size())));
}

std::vector<BlockBytes> blocks_of(const config::ModelConfig& model, const BlockShape& shape,
                                  const std::vector<double>& k_L) {
  std::vector<BlockBytes> blocks;
  for (std::int64_t layer = 0; layer < model.num_layers; ++layer) {
    const bool has_experts =
        std::binary_search(model.moe.layers.begin(), model.moe.layers.end(), layer);
    if (!has_experts) {
      blocks.push_back(dense_block(shape));
      continue;
    }
    const config::RouterConfig& router = model.router_at(layer);
    const auto keeps = config::descriptor_of(router).keeps;
    blocks.push_back(moe_block(shape, k_L[static_cast<std::size_t>(layer)],
                               keeps == nullptr ? config::RouterKeeps{} : keeps(router)));
  }
  return blocks;
}

// A pass without gradients: one block at a time or the logits, and the routes of all layers, which
// are part of its result.
double forward_bytes(const BlockShape& shape, const std::vector<BlockBytes>& blocks) {
  double routes = 0.0;
  double most = head_bytes(shape).logits;
  for (const BlockBytes& block : blocks) {
    routes += block.kept_to_recompute.router;
    // The attention's is gone when the MLP or the experts begin.
    most = std::max({most, block.kept_by_attention + block.output,
                     block.kept.total() - block.kept.attention + block.forward_work});
  }
  return kBatchBytesPerToken * shape.T + shape.T * shape.H * shape.compute + routes + most;
}

bool adds_to_its_sum_directly(const ops::Parameter& parameter) {
  return parameter.is_expert || parameter.name == "model.embed_tokens.weight" ||
         parameter.name == "lm_head.weight";
}

}  // namespace

TrainingMemory::TrainingMemory(const config::Config& config, int num_threads)
    : model_(config.model),
      compute_(ops::precision_policy(config.train.precision).compute),
      sequence_length_(config.data.sequence_length),
      global_batch_size_(config.train.global_batch_size),
      num_threads_(num_threads),
      gradients_in_flight_L_(static_cast<std::size_t>(config.model.num_layers)) {
  try {
    const std::unique_ptr<model::Model> model =
        model::make_model(model_, sequence_length_, {.compute = compute_, .device = at::kMeta});
    for (const ops::Parameter* parameter : model->parameters()) {
      const double master = bytes_of(parameter->master);
      const bool is_master = parameter->value.scalar_type() == parameter->master.scalar_type();
      for (StateBytes* const state : {&state_, &experts_state_}) {
        if (state == &experts_state_ && !parameter->is_expert) continue;
        state->weights += bytes_of(parameter->value);
        state->masters += is_master ? 0.0 : master;
        state->gradients += master;
        state->moments += 2.0 * master;
      }
      if (adds_to_its_sum_directly(*parameter)) continue;
      gradients_in_flight_L_[layer_of(parameter->name, gradients_in_flight_L_.size())] +=
          bytes_of(parameter->value);
    }
  } catch (const c10::Error&) {
    throw UsageError("a tensor of this model has more bytes than a 64-bit number can count",
                     "look at the sizes under `model`");
  }
}

std::string TrainingMemory::experts_on(Device device) const {
  if (model_.moe.layers.empty()) return {};
  // Not asked whether it could run here: the plan may be for another machine.
  if (model_.moe.compute == "cutlass") return device == Device::gpu ? "cutlass" : "loop";
  return moe::make_expert_compute(
             model_.moe.compute,
             {.dtype = compute_,
              .device = device == Device::gpu ? at::Device(at::kCUDA) : at::Device(at::kCPU),
              .hidden_size = model_.hidden_size,
              .expert_size = model_.moe.expert_size,
              .num_experts = model_.moe.num_experts})
      ->name();
}

BlockShape TrainingMemory::shape(const MemorySetting& setting, std::int64_t num_sequences) const {
  SWITCHYARD_CHECK(setting.experts_per_token_L.size() == gradients_in_flight_L_.size(),
                   "{} numbers of experts for {} layers", setting.experts_per_token_L.size(),
                   gradients_in_flight_L_.size());
  const std::string experts = experts_on(setting.device);
  return block_shape(model_, compute_,
                     {.num_sequences = num_sequences,
                      .sequence_length = sequence_length_,
                      .num_threads = num_threads_,
                      .grouped_experts = experts == "grouped_mm" || experts == "cutlass",
                      .w1_gradient_apart = experts == "grouped_mm",
                      .casts_in_copies = setting.device == Device::cpu && compute_ == at::kBFloat16,
                      .on_gpu = setting.device == Device::gpu});
}

MemoryUse TrainingMemory::use(const MemorySetting& setting) const {
  const BlockShape micro_batch = shape(setting, setting.micro_batch_size);
  const BlockShape one_window = shape(setting, 1);
  const std::vector<double>& k_L = setting.experts_per_token_L;
  const std::vector<BlockBytes> blocks = blocks_of(model_, micro_batch, k_L);
  const HeadBytes head = head_bytes(micro_batch);
  const double key_value_cache = static_cast<double>(model_.num_layers) * 2.0 * one_window.T *
                                 one_window.G * one_window.D * one_window.compute;
  MemoryUse use{
      .batches = kBatchBytesPerToken * static_cast<double>(global_batch_size_ * sequence_length_),
      .evaluation = forward_bytes(micro_batch, blocks),
      .sample = key_value_cache + forward_bytes(one_window, blocks_of(model_, one_window, k_L))};
  for (const BlockBytes& block : blocks) {
    add(use.kept, setting.recompute ? block.kept_to_recompute : block.kept);
  }

  // The moments at which most may be held: the head with everything kept, ...
  const double kept_of_blocks = use.kept.total();
  use.kept.head = head.kept;
  use.logits = head.logits;
  double most = use.kept.total() + head.work;
  // ... and each block on the way forward and back, with the blocks before it kept and the
  // gradients of those behind it in flight.
  double kept = kept_of_blocks;
  double gradients = 0.0;
  for (std::size_t i = blocks.size(); i-- > 0;) {
    const BlockBytes& block = blocks[i];
    gradients += gradients_in_flight_L_[i];
    const double before = kept - (setting.recompute ? block.kept_to_recompute : block.kept).total();
    const double forward = kept + block.forward_work;
    double at_work = block.kept.total() + block.mlp_backward_work;
    at_work = std::max(at_work, block.kept_by_attention + block.attention_backward_work);
    if (setting.recompute) at_work += block.output;
    most = std::max({most, setting.recompute ? 0.0 : forward, before + at_work + gradients});
    kept = before;
  }
  use.working = most - use.kept.total();
  return use;
}

std::int64_t TrainingMemory::largest_micro_batch(MemorySetting setting, double bytes,
                                                 std::int64_t limit) const {
  const auto fits = [&](std::int64_t size) {
    setting.micro_batch_size = size;
    return state_.total() + use(setting).total() <= bytes;
  };
  std::int64_t fitting = 0;
  std::int64_t too_large = limit + 1;
  while (too_large - fitting > 1) {
    const std::int64_t middle = fitting + (too_large - fitting) / 2;
    (fits(middle) ? fitting : too_large) = middle;
  }
  return fitting;
}

}  // namespace switchyard::plan
