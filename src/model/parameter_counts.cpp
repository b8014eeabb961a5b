#include "switchyard/model/parameter_counts.h"

#include <c10/util/Exception.h>

#include <memory>

#include "switchyard/core/error.h"
#include "switchyard/model/make_model.h"

namespace switchyard::model {
namespace {

constexpr const char* kSizesHint = "look at the sizes under `model`";

}  // namespace

ParameterCounts count_parameters(Model& model) {
  const config::ModelConfig& config = model.config();
  ParameterCounts counts;
  for (const ops::Parameter* parameter : model.parameters()) {
    std::int64_t numel = parameter->numel();
    bool overflows = false;
    if (parameter->is_expert) {  // some of which other ranks may hold
      const std::int64_t of_one = numel / parameter->value.size(0);
      overflows = __builtin_mul_overflow(of_one, config.moe.num_experts, &numel);
      counts.per_expert += of_one;
    }
    if (overflows || __builtin_add_overflow(counts.total, numel, &counts.total)) {
      throw UsageError("this model has more parameters than a 64-bit number can count", kSizesHint);
    }
    if (parameter->is_expert) continue;
    const bool is_matrix = parameter->value.dim() >= 2;
    if (parameter->name == "model.embed_tokens.weight") {
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
  if (config.vocab_size == 0) {
    throw UsageError("the size of the vocabulary is not known", "add model.vocab_size=N");
  }
  try {
    const std::unique_ptr<Model> model =
        make_model(config, /*sequence_length=*/1, {.compute = at::kFloat, .device = at::kMeta});
    return count_parameters(*model);
  } catch (const c10::Error&) {
    throw UsageError("a tensor of this model has more bytes than a 64-bit number can count",
                     kSizesHint);
  }
}

}  // namespace switchyard::model
