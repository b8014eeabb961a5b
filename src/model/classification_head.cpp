#include "switchyard/model/classification_head.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/tanh.h>

#include "switchyard/ops/linear.h"

namespace switchyard::model {
namespace {

ops::Parameter make_weight(const char* name, std::int64_t rows, std::int64_t columns, double std,
                           const ops::PrecisionPolicy& precision) {
  return ops::make_parameter(
      {.name = name, .shape = {rows, columns}, .init_std = std, .keep_accumulation_type = true},
      precision);
}

ops::Parameter make_bias(const char* name, std::int64_t rows,
                         const ops::PrecisionPolicy& precision) {
  return ops::make_parameter({.name = name,
                              .shape = {rows},
                              .initializer = ops::Initializer::zeros,
                              .decay = false,
                              .keep_accumulation_type = true},
                             precision);
}

// The mean of each row's tokens, [B, H]: a product with a [B, T] matrix, whose sums have a fixed
// order on every device.
at::Tensor mean_of(const at::Tensor& hidden_TH, const at::Tensor& is_part_BT,
                   c10::ScalarType type) {
  at::Tensor share_BT = is_part_BT.to(type);
  share_BT = share_BT.div(share_BT.sum(1, /*keepdim=*/true));
  return at::matmul(share_BT, hidden_TH.to(type));
}

}  // namespace

ClassificationHead::ClassificationHead(const config::ModelConfig& config, std::int64_t num_outputs,
                                       Pooling pooling, const ops::PrecisionPolicy& precision)
    : pooling_(pooling),
      dense_(make_weight("classifier.dense.weight", config.hidden_size,
                         config.hidden_size * (pooling == Pooling::pair ? 4 : 1), config.init_std,
                         precision)),
      dense_bias_(make_bias("classifier.dense.bias", config.hidden_size, precision)),
      output_(make_weight("classifier.out_proj.weight", num_outputs, config.hidden_size,
                          config.init_std, precision)),
      output_bias_(make_bias("classifier.out_proj.bias", num_outputs, precision)) {}

at::Tensor ClassificationHead::pool(const at::Tensor& hidden_TH, const Batch& batch) const {
  const auto num_sequences = static_cast<std::int64_t>(batch.sequence_offset.size()) - 1;
  const at::Tensor begin_B = batch.sequence_offset_B1.narrow(0, 0, num_sequences);
  const at::Tensor end_B = batch.sequence_offset_B1.narrow(0, 1, num_sequences);
  const bool is_padded = batch.valid_T.defined();
  if (pooling_ == Pooling::first && !is_padded) return hidden_TH.index_select(0, begin_B);
  if (pooling_ == Pooling::last && !is_padded) return hidden_TH.index_select(0, end_B.sub(1));
  // Made where it is needed: a matrix from the host would make it wait for the device.
  const at::Tensor token_T = at::arange(batch.num_tokens(), end_B.options());
  at::Tensor is_part_BT =
      token_T.ge(begin_B.unsqueeze(1)).logical_and(token_T.lt(end_B.unsqueeze(1)));
  if (is_padded) is_part_BT = is_part_BT.logical_and(batch.valid_T);
  if (pooling_ == Pooling::first) {
    const at::Tensor not_it_BT = is_part_BT.logical_not().mul(batch.num_tokens());
    return hidden_TH.index_select(0, not_it_BT.add(token_T).amin(1));
  }
  if (pooling_ == Pooling::last) {
    return hidden_TH.index_select(0, is_part_BT.mul(token_T).amax(1));
  }
  const c10::ScalarType type = output_.value.scalar_type();
  if (pooling_ == Pooling::mean) return mean_of(hidden_TH, is_part_BT, type);
  const at::Tensor is_second_BT = token_T.ge(batch.second_B.unsqueeze(1));
  const at::Tensor first_BH =
      mean_of(hidden_TH, is_part_BT.logical_and(is_second_BT.logical_not()), type);
  const at::Tensor second_BH = mean_of(hidden_TH, is_part_BT.logical_and(is_second_BT), type);
  return at::cat({first_BH, second_BH, first_BH.sub(second_BH).abs(), first_BH.mul(second_BH)}, 1);
}

at::Tensor ClassificationHead::logits(const at::Tensor& hidden_TH, const Batch& batch) const {
  // Never in bf16, where scores from 2 to 4 are multiples of 1/64 and classes tie.
  const at::Tensor pooled_BH = pool(hidden_TH, batch).to(dense_.value.scalar_type());
  const at::Tensor dense_BH = at::tanh(ops::linear(pooled_BH, dense_.value, dense_bias_.value));
  return ops::linear(dense_BH, output_.value, output_bias_.value);
}

std::vector<ops::Parameter*> ClassificationHead::parameters() {
  return {&dense_, &dense_bias_, &output_, &output_bias_};
}

}  // namespace switchyard::model
