// From hidden states to tokens: the output matrix, its loss and its logits.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <vector>

#include "switchyard/config/config.h"
#include "switchyard/model/batch.h"
#include "switchyard/ops/parameter.h"

namespace switchyard::model {

class LanguageModelHead {
 public:
  // With config.tie_embeddings the matrix is `embedding` [V, H], which must outlive this; else it
  // is a parameter of its own, `lm_head.weight`.
  LanguageModelHead(const config::ModelConfig& config, const ops::Parameter& embedding,
                    const ops::PrecisionPolicy& precision);

  // Sum over labels (-1 = none) of the negative log likelihood (nats).
  [[nodiscard]] at::Tensor loss_sum(const at::Tensor& hidden_TH, const at::Tensor& label_T) const;
  // The same of a batch, for the tokens that have a label alone where it names them.
  [[nodiscard]] at::Tensor loss_sum(const at::Tensor& hidden_TH, const Batch& batch) const;
  // No gradient; [T], of logits divided by the temperature.
  [[nodiscard]] at::Tensor loss_per_token(const at::Tensor& hidden_TH,
                                          const at::Tensor& label_T) const {
    return loss_per_token_at(temperature_, hidden_TH, label_T);
  }
  [[nodiscard]] at::Tensor loss_per_token_at(double temperature, const at::Tensor& hidden_TH,
                                             const at::Tensor& label_T) const;
  // [T, V] accumulation type, divided by the temperature.
  [[nodiscard]] at::Tensor logits(const at::Tensor& hidden_TH) const;

  // Above 0; 1 until it is set (inference/calibrate.h). What training minimises, loss_sum, never
  // sees it.
  void set_temperature(double temperature) { temperature_ = temperature; }
  [[nodiscard]] double temperature() const { return temperature_; }

  // None when tied.
  [[nodiscard]] std::vector<ops::Parameter*> parameters();

 private:
  [[nodiscard]] const ops::Parameter& matrix() const { return own_ ? *own_ : *embedding_; }

  std::optional<ops::Parameter> own_;
  const ops::Parameter* embedding_;
  double temperature_ = 1.0;
};

}  // namespace switchyard::model
