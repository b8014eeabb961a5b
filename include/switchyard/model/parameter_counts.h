// How many parameters a model has, and how many of them a token uses.
#pragma once

#include <cstdint>

#include "switchyard/config/config.h"
#include "switchyard/model/model.h"

namespace switchyard::model {

struct ParameterCounts {
  std::int64_t total = 0;
  std::int64_t embedding = 0;   // input embedding (counted in total)
  std::int64_t head = 0;        // output matrix when untied
  std::int64_t per_expert = 0;  // one expert of one layer
  std::int64_t num_moe_layers = 0;
  std::int64_t dense_matmul = 0;  // matrix parameters every token uses (head included)
  // Matrix parameters that one token uses when each MoE layer gives it k experts.
  [[nodiscard]] double activated(double k) const {
    return static_cast<double>(dense_matmul) +
           k * static_cast<double>(per_expert) * static_cast<double>(num_moe_layers);
  }
};
// Of the whole model, however few of its experts are held here. Throws UsageError for more than 64
// bits can count.
[[nodiscard]] ParameterCounts count_parameters(Model& model);
// Of a decoder or an encoder, from shapes alone; allocates nothing. Throws UsageError for sizes
// beyond 64 bits, and when the vocabulary size is not known.
[[nodiscard]] ParameterCounts count_parameters(const config::ModelConfig& config);

}  // namespace switchyard::model
