// From the hidden states of sequences to one prediction for each: pooling, a dense layer, and the
// outputs (as RoBERTa's head: Liu et al., 2019; how two texts differ: Conneau et al., "Supervised
// Learning of Universal Sentence Representations", EMNLP 2017).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "switchyard/config/config.h"
#include "switchyard/model/batch.h"
#include "switchyard/ops/parameter.h"

namespace switchyard::model {

enum class Pooling {
  mean,   // of all valid tokens of the sequence
  first,  // its first valid token
  last,   // its last valid token, which in a decoder alone has seen all others
  pair,   // of the valid tokens of its two texts the means u and v: [u, v, |u - v|, u * v]
};

class ClassificationHead {
 public:
  // Parameters `classifier.dense.{weight,bias}` [H, P] and `classifier.out_proj.{weight,bias}`
  // [C, H]; C = num_outputs, P = 4 H with Pooling::pair, else H.
  ClassificationHead(const config::ModelConfig& config, std::int64_t num_outputs, Pooling pooling,
                     const ops::PrecisionPolicy& precision);

  // tanh(pooled W^T + b) W_out^T + b_out: [B, C], accumulation type. Pooling::pair reads
  // batch.second_B.
  [[nodiscard]] at::Tensor logits(const at::Tensor& hidden_TH, const Batch& batch) const;

  [[nodiscard]] std::vector<ops::Parameter*> parameters();

 private:
  // [B, P]
  [[nodiscard]] at::Tensor pool(const at::Tensor& hidden_TH, const Batch& batch) const;

  Pooling pooling_;
  ops::Parameter dense_;
  ops::Parameter dense_bias_;
  ops::Parameter output_;
  ops::Parameter output_bias_;
};

}  // namespace switchyard::model
