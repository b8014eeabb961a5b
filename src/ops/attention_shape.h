// The kernels' view of an attention call, shared by attention and attention_importance.
#pragma once

#include <ATen/core/Tensor.h>

#include <cmath>
#include <cstdint>
#include <vector>

#include "ops/kernel_device.h"
#include "switchyard/kernels/attention.h"
#include "switchyard/ops/attention.h"

namespace switchyard::ops {

[[nodiscard]] inline std::vector<kernels::KeySpan> key_spans(const AttentionOptions& options) {
  const bool own_keys = options.key_begin.empty();
  const std::size_t num_sequences =
      options.sequence_offset.empty() ? 0 : options.sequence_offset.size() - 1;
  std::vector<kernels::KeySpan> spans;
  spans.reserve(num_sequences);
  for (std::size_t b = 0; b < num_sequences; ++b) {
    spans.push_back(
        own_keys ? kernels::KeySpan{options.sequence_offset[b], options.sequence_offset[b + 1]}
                 : kernels::KeySpan{options.key_begin[b], options.key_end[b]});
  }
  return spans;
}

template <typename Storage>
[[nodiscard]] kernels::HeadRows<const Storage> read_heads(const KernelDevice& on,
                                                          const at::Tensor& x_TAD) {
  return {on.read<Storage>(x_TAD), x_TAD.stride(0), x_TAD.stride(1)};
}
template <typename Storage>
[[nodiscard]] kernels::HeadRows<Storage> write_heads(const KernelDevice& on,
                                                     const at::Tensor& x_TAD) {
  return {on.write<Storage>(x_TAD), x_TAD.stride(0), x_TAD.stride(1)};
}

// The kernels read heads of any stride whose elements are neighbours.
[[nodiscard]] inline at::Tensor with_dense_heads(const at::Tensor& x_TAD) {
  return x_TAD.stride(2) == 1 ? x_TAD : x_TAD.contiguous();
}

[[nodiscard]] inline double attention_scale(std::int64_t head_size,
                                            const AttentionOptions& options) {
  return options.scale == 0.0 ? 1.0 / std::sqrt(static_cast<double>(head_size)) : options.scale;
}

// `options` and `spans` must outlive the result.
template <typename Storage>
[[nodiscard]] kernels::AttentionShape<Storage> attention_shape(
    const KernelDevice& on, const at::Tensor& q_TAD, const at::Tensor& k_TGD,
    const AttentionOptions& options, const std::vector<kernels::KeySpan>& spans) {
  const auto head_dim = q_TAD.size(2);
  return {.q = read_heads<Storage>(on, q_TAD),
          .k = read_heads<Storage>(on, k_TGD),
          .num_queries = q_TAD.size(0),
          .num_heads = q_TAD.size(1),
          .num_groups = k_TGD.size(1),
          .head_dim = head_dim,
          .num_sequences = static_cast<std::int64_t>(spans.size()),
          .query_offset_B1 = options.sequence_offset.data(),
          .key_span_B = spans.data(),
          .key_valid = on.read_if_defined<bool>(options.valid_T),
          .causal = options.causal,
          .scale = attention_scale(head_dim, options)};
}

// Throws InternalError for shapes, dtypes or options that do not fit together.
void check_attention(const at::Tensor& q_TAD, const at::Tensor& k_TGD,
                     const AttentionOptions& options);

}  // namespace switchyard::ops
