#include "switchyard/model/parameter_counts.h"

#include "switchyard/model/decoder.h"

namespace switchyard::model {

ParameterCounts count_parameters(Model& model) {
  const config::ModelConfig& config = model.config();
  ParameterCounts counts;
  for (const ops::Parameter* parameter : model.parameters()) {
    counts.total += parameter->numel();
    const bool is_matrix = parameter->value.dim() >= 2;
    if (parameter->is_expert) {
      counts.per_expert += parameter->numel() / config.moe.num_experts;
    } else if (parameter->name == "model.embed_tokens.weight") {
      counts.embedding = parameter->numel();
    } else if (is_matrix) {
      counts.dense_matmul += parameter->numel();
      if (parameter->name == "lm_head.weight") counts.head = parameter->numel();
    }
  }
  counts.num_moe_layers = static_cast<std::int64_t>(model.routers().size());
  if (counts.num_moe_layers > 0) counts.per_expert /= counts.num_moe_layers;
  if (config.tie_embeddings) counts.dense_matmul += counts.embedding;
  return counts;
}

ParameterCounts count_parameters(const config::ModelConfig& config) {
  Decoder decoder(config, /*sequence_length=*/1, {.compute = at::kFloat, .device = at::kMeta});
  return count_parameters(decoder);
}

}  // namespace switchyard::model
