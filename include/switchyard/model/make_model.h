// The model that a configuration names, for those who do not care which kind it is.
#pragma once

#include <cstdint>
#include <memory>

#include "switchyard/config/config.h"
#include "switchyard/model/model.h"

namespace switchyard::model {

// A Decoder or an Encoder, by config.type; as their constructors.
[[nodiscard]] std::unique_ptr<Model> make_model(const config::ModelConfig& config,
                                                std::int64_t sequence_length,
                                                const ops::PrecisionPolicy& precision);

}  // namespace switchyard::model
