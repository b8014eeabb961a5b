// A trunk that says one thing about each sequence: a class or a score.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "switchyard/config/config.h"
#include "switchyard/model/classification_head.h"
#include "switchyard/model/model.h"

namespace switchyard::model {

class Classifier final : public Model {
 public:
  // As Encoder's or Decoder's, by config.type, with num_outputs classes, or 1 for a score.
  Classifier(const config::ModelConfig& config, std::int64_t sequence_length,
             std::int64_t num_outputs, Pooling pooling, const ops::PrecisionPolicy& precision)
      : Model(config, {.sequence_length = sequence_length,
                       .precision = precision,
                       .causal = config.is_causal()}),
        head_(config, num_outputs, pooling, precision) {}

  [[nodiscard]] const ClassificationHead& head() const { return head_; }

 private:
  [[nodiscard]] std::vector<ops::Parameter*> head_parameters() override {
    return head_.parameters();
  }

  ClassificationHead head_;
};

}  // namespace switchyard::model
