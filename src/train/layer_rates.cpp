#include "train/layer_rates.h"

#include <charconv>
#include <cmath>

#include "switchyard/core/error.h"

namespace switchyard::train {

double learning_rate_scale(std::string_view parameter, std::int64_t num_layers, double decay) {
  constexpr std::string_view kEmbedding = "model.embed_tokens.";
  constexpr std::string_view kLayers = "model.layers.";
  if (parameter.starts_with(kEmbedding)) {
    return std::pow(decay, static_cast<double>(num_layers + 1));
  }
  if (!parameter.starts_with(kLayers)) return 1.0;
  std::int64_t layer = -1;
  parameter.remove_prefix(kLayers.size());
  std::from_chars(parameter.data(), parameter.data() + parameter.size(), layer);
  SWITCHYARD_CHECK(layer >= 0 && layer < num_layers, "layer {} of {}", layer, num_layers);
  return std::pow(decay, static_cast<double>(num_layers - layer));
}

}  // namespace switchyard::train
