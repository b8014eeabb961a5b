#include "ops/flash_attention.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_flash_attention_backward.h>
#include <ATen/ops/_flash_attention_forward.h>
#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <tuple>
#include <vector>

#include "ops/attention_shape.h"
#include "ops/kernel_device.h"
#include "switchyard/core/error.h"
#include "switchyard/kernels/upload.h"

namespace switchyard::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr std::int64_t kMaxHeadSize = 256;

std::int32_t as_int32(std::int64_t row) {
  SWITCHYARD_CHECK(row <= std::numeric_limits<std::int32_t>::max(),
                   "row {} is more than flash attention can count", row);
  return static_cast<std::int32_t>(row);
}

// Where sequences begin, as the kernels read it; those without queries are left out, because they
// add nothing and one query each, the case of generation, is computed in another layout.
struct Sequences {
  at::Tensor query_offset_B1;  // int32 on the device
  at::Tensor key_offset_B1;    // where a sequence's keys begin
  at::Tensor num_keys_B;       // defined where they do not end where the next ones begin
  std::int64_t max_queries = 0;
  std::int64_t max_keys = 0;
};

Sequences sequences_on(at::Device device, const AttentionOptions& options) {
  const std::vector<kernels::KeySpan> spans = key_spans(options);
  std::vector<std::int32_t> query_offset{0};
  std::vector<std::int32_t> key_begin;
  std::vector<std::int32_t> num_keys;
  Sequences sequences;
  for (std::size_t b = 0; b < spans.size(); ++b) {
    const std::int64_t end = options.sequence_offset[b + 1];
    const std::int64_t num_queries = end - options.sequence_offset[b];
    if (num_queries == 0) continue;
    query_offset.push_back(as_int32(end));
    key_begin.push_back(as_int32(spans[b].begin));
    num_keys.push_back(as_int32(spans[b].end - spans[b].begin));
    sequences.max_queries = std::max(sequences.max_queries, num_queries);
    sequences.max_keys = std::max(sequences.max_keys, spans[b].end - spans[b].begin);
  }
  // One upload: [B+1] queries, [B+1] keys, [B] numbers of keys.
  const auto num_sequences = static_cast<std::int64_t>(key_begin.size());
  std::vector<std::int32_t> numbers = query_offset;
  numbers.insert(numbers.end(), key_begin.begin(), key_begin.end());
  numbers.push_back(key_begin.back() + num_keys.back());
  numbers.insert(numbers.end(), num_keys.begin(), num_keys.end());
  const at::Tensor on_device =
      at::empty({std::ssize(numbers)}, at::TensorOptions().dtype(at::kInt).device(device));
  const KernelDevice on(device, "flash_attention");
  auto* const to = on.write<std::byte>(on_device);
  on.run([] { SWITCHYARD_CHECK(false, "flash attention is for GPUs"); },
         [&](kernels::Stream stream) {
           kernels::cuda::upload(to, numbers.data(), numbers.size() * sizeof(std::int32_t), stream);
         });
  sequences.query_offset_B1 = on_device.narrow(0, 0, num_sequences + 1);
  sequences.key_offset_B1 = on_device.narrow(0, num_sequences + 1, num_sequences + 1);
  if (!options.key_begin.empty()) {
    sequences.num_keys_B = on_device.narrow(0, 2 * num_sequences + 2, num_sequences);
  }
  return sequences;
}

class FlashAttention : public torch::autograd::Function<FlashAttention> {
 public:
  static variable_list forward(AutogradContext* ctx, const at::Tensor& q_TAD,
                               const at::Tensor& k_TGD, const at::Tensor& v_TGD,
                               const AttentionOptions& options) {
    const Sequences sequences = sequences_on(q_TAD.device(), options);
    const double scale = attention_scale(q_TAD.size(2), options);
    const auto [out_TAD, lse_AT, random_state, unused, no_mask] = at::_flash_attention_forward(
        q_TAD, k_TGD, v_TGD, sequences.query_offset_B1, sequences.key_offset_B1,
        sequences.max_queries, sequences.max_keys, /*dropout_p=*/0.0, options.causal,
        /*return_debug_mask=*/false, scale, /*window_size_left=*/std::nullopt,
        /*window_size_right=*/std::nullopt,
        sequences.num_keys_B.defined() ? std::optional(sequences.num_keys_B) : std::nullopt);
    ctx->save_for_backward({q_TAD, k_TGD, v_TGD, out_TAD, lse_AT, sequences.query_offset_B1,
                            sequences.key_offset_B1, random_state, unused});
    ctx->saved_data["max_queries"] = sequences.max_queries;
    ctx->saved_data["max_keys"] = sequences.max_keys;
    ctx->saved_data["causal"] = options.causal;
    ctx->saved_data["scale"] = scale;
    ctx->mark_non_differentiable({lse_AT});
    return {out_TAD, lse_AT};
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    auto [dq_TAD, dk_TGD, dv_TGD] = at::_flash_attention_backward(
        with_dense_heads(grads[0]), saved[0], saved[1], saved[2], saved[3], saved[4], saved[5],
        saved[6], ctx->saved_data["max_queries"].toInt(), ctx->saved_data["max_keys"].toInt(),
        /*dropout_p=*/0.0, ctx->saved_data["causal"].toBool(), saved[7], saved[8],
        ctx->saved_data["scale"].toDouble());
    return {dq_TAD, dk_TGD, dv_TGD, {}};
  }
};

}  // namespace

bool has_flash_kernel(at::ScalarType dtype, std::int64_t head_size) {
  return dtype == at::kBFloat16 && head_size % 8 == 0 && head_size <= kMaxHeadSize;
}

bool takes_flash_attention(const at::Tensor& q_TAD, const at::Tensor& k_TGD,
                           const at::Tensor& v_TGD, const AttentionOptions& options) {
  const bool wants_gradient =
      at::GradMode::is_enabled() &&
      (q_TAD.requires_grad() || k_TGD.requires_grad() || v_TGD.requires_grad());
  return q_TAD.is_cuda() && has_flash_kernel(q_TAD.scalar_type(), q_TAD.size(2)) &&
         q_TAD.numel() > 0 && !options.valid_T.defined() &&
         (options.key_begin.empty() || !wants_gradient);
}

AttentionOutput flash_attention(const at::Tensor& q_TAD, const at::Tensor& k_TGD,
                                const at::Tensor& v_TGD, const AttentionOptions& options) {
  const variable_list out = FlashAttention::apply(q_TAD, k_TGD, v_TGD, options);
  return {out[0], out[1]};
}

}  // namespace switchyard::ops
