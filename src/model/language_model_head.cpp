#include "switchyard/model/language_model_head.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/div.h>

#include "switchyard/ops/linear.h"
#include "switchyard/ops/linear_cross_entropy.h"

namespace switchyard::model {

LanguageModelHead::LanguageModelHead(const config::ModelConfig& config,
                                     const ops::Parameter& embedding,
                                     const ops::PrecisionPolicy& precision)
    : embedding_(&embedding) {
  if (config.tie_embeddings) return;
  own_ = ops::make_parameter({.name = "lm_head.weight",
                              .shape = {config.vocab_size, config.hidden_size},
                              .init_std = config.init_std},
                             precision);
}

at::Tensor LanguageModelHead::loss_sum(const at::Tensor& hidden_TH,
                                       const at::Tensor& label_T) const {
  return ops::linear_cross_entropy(hidden_TH, matrix().value, label_T,
                                   {.chunk_tokens = 0, .weight_grad_VH = matrix().grad});
}

at::Tensor LanguageModelHead::loss_sum(const at::Tensor& hidden_TH, const Batch& batch) const {
  if (!batch.label_token_M.defined()) return loss_sum(hidden_TH, batch.label_T);
  return loss_sum(hidden_TH.index_select(0, batch.label_token_M),
                  batch.label_T.index_select(0, batch.label_token_M));
}

// Dividing hidden states divides logits, which never exist as a whole.
at::Tensor LanguageModelHead::loss_per_token_at(double temperature, const at::Tensor& hidden_TH,
                                                const at::Tensor& label_T) const {
  const at::NoGradGuard no_grad;
  return ops::linear_cross_entropy_per_token(
      temperature == 1.0 ? hidden_TH : at::div(hidden_TH, temperature), matrix().value, label_T);
}

at::Tensor LanguageModelHead::logits(const at::Tensor& hidden_TH) const {
  const at::Tensor logits_TV =
      ops::linear(hidden_TH, matrix().value).to(matrix().master.scalar_type());
  return temperature_ == 1.0 ? logits_TV : at::div(logits_TV, temperature_);
}

std::vector<ops::Parameter*> LanguageModelHead::parameters() {
  if (own_) return {&*own_};
  return {};
}

}  // namespace switchyard::model
