// Small checkpoints.
#pragma once

#include <ATen/ops/arange.h>

#include <cstdint>
#include <filesystem>
#include <utility>

#include "switchyard/checkpoint/checkpoint.h"

namespace switchyard::testing {

// Without a training state: weights only.
inline checkpoint::SaveRequest small_request(std::int64_t step,
                                             checkpoint::CheckpointTensors tensors) {
  checkpoint::SaveRequest request;
  request.step = step;
  request.plan = checkpoint::one_file_per_kind(std::move(tensors));
  request.tokenizer_file = "tokenizer.json";
  request.tokenizer_bytes = "{}\n";
  request.resolved_config = "model:\n  hidden_size: 4\n";
  return request;
}

// With a file of every kind.
inline std::filesystem::path save_step(const std::filesystem::path& checkpoints,
                                       std::int64_t step) {
  checkpoint::SaveRequest request =
      small_request(step, {.weights = {{"a", at::arange(1000, at::kFloat)}},
                           .router_state = {{"b", at::arange(3, at::kFloat)}},
                           .optimizer = {{"a.exp_avg", at::arange(1000, at::kFloat)}}});
  request.training_state = "{}\n";
  return checkpoint::save(checkpoints, request);
}

}  // namespace switchyard::testing
