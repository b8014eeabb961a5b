#include "switchyard/model/throughput.h"

#include "switchyard/model/parameter_counts.h"

namespace switchyard::model {

TrainingFlops count_training_flops(const config::ModelConfig& model, std::int64_t sequence_length,
                                   double labels_per_token) {
  const model::ParameterCounts counts = model::count_parameters(model);
  const auto length = static_cast<double>(sequence_length);
  const double visible_keys = model.is_causal() ? (length + 1.0) / 2.0 : length;
  // As doubles: the product of sizes that are all allowed may be beyond 64 bits.
  const double attention = 12.0 * static_cast<double>(model.num_layers) *
                           static_cast<double>(model.num_heads * model.head_dim) * visible_keys;
  const auto head = static_cast<double>(model.tie_embeddings ? counts.embedding : counts.head);
  const double matrices = counts.activated(0.0) - (1.0 - labels_per_token) * head;
  return {.fixed = 6.0 * matrices + attention,
          .per_expert = 6.0 * (counts.activated(1.0) - counts.activated(0.0))};
}

TrainingFlops pretraining_flops(const config::Config& config) {
  return count_training_flops(config.model, config.data.sequence_length,
                              config.model.is_causal() ? 1.0 : config.data.mask_rate);
}

}  // namespace switchyard::model
