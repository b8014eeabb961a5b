#include "switchyard/model/make_model.h"

#include "switchyard/model/decoder.h"
#include "switchyard/model/encoder.h"

namespace switchyard::model {

std::unique_ptr<Model> make_model(const config::ModelConfig& config, std::int64_t sequence_length,
                                  const ops::PrecisionPolicy& precision) {
  if (config.is_causal()) return std::make_unique<Decoder>(config, sequence_length, precision);
  return std::make_unique<Encoder>(config, sequence_length, precision);
}

}  // namespace switchyard::model
