#include "switchyard/model/throughput.h"

#include "switchyard/model/parameter_counts.h"

namespace switchyard::model {

TrainingFlops count_training_flops(const config::ModelConfig& model, std::int64_t sequence_length) {
  const model::ParameterCounts counts = model::count_parameters(model);
  // As doubles: the product of sizes that are all allowed may be beyond 64 bits.
  const double attention = 6.0 * static_cast<double>(model.num_layers) *
                           static_cast<double>(model.num_heads * model.head_dim) *
                           static_cast<double>(sequence_length + 1);
  return {.fixed = 6.0 * counts.activated(0.0) + attention,
          .per_expert = 6.0 * (counts.activated(1.0) - counts.activated(0.0))};
}

}  // namespace switchyard::model
