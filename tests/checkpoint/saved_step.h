// A small checkpoint with a file of every kind.
#pragma once

#include <ATen/ops/arange.h>

#include <cstdint>
#include <filesystem>
#include <utility>

#include "switchyard/checkpoint/checkpoint.h"

namespace switchyard::checkpoint::testing {

inline std::filesystem::path save_step(const std::filesystem::path& checkpoints,
                                       std::int64_t step) {
  CheckpointTensors tensors;
  tensors.weights = {{"a", at::arange(1000, at::kFloat)}};
  tensors.router_state = {{"b", at::arange(3, at::kFloat)}};
  tensors.optimizer = {{"a.exp_avg", at::arange(1000, at::kFloat)}};
  SaveRequest request;
  request.step = step;
  request.plan = one_file_per_kind(std::move(tensors));
  request.training_state = "{}\n";
  request.tokenizer_file = "tokenizer.json";
  request.tokenizer_bytes = "{}\n";
  request.resolved_config = "model:\n  hidden_size: 4\n";
  return save(checkpoints, request);
}

}  // namespace switchyard::checkpoint::testing
