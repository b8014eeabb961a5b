// Learning rates that fall from the head down to the embeddings, for training on from weights whose
// lower layers should move least (Howard & Ruder, "Universal Language Model Fine-tuning for Text
// Classification", ACL 2018; the exponents are those of BEiT, Bao et al., 2022).
#pragma once

#include <cstdint>
#include <string_view>

namespace switchyard::train {

// What the parameter of that name has of the learning rate, in a model of L layers: decay^(L + 1)
// for embeddings, decay^(L - i) for layer i, 1 for what is above all layers. A matrix that is both
// embedding and output counts as the embedding.
[[nodiscard]] double learning_rate_scale(std::string_view parameter, std::int64_t num_layers,
                                         double decay);

}  // namespace switchyard::train
