#include "switchyard/ops/attention.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include "ops/attention_shape.h"
#include "ops/dispatch.h"
#include "ops/flash_attention.h"
#include "ops/kernel_device.h"
#include "switchyard/core/error.h"
#include "switchyard/kernels/attention.h"

namespace switchyard::ops {

void check_attention(const at::Tensor& q_TAD, const at::Tensor& k_TGD,
                     const AttentionOptions& options) {
  SWITCHYARD_CHECK(q_TAD.dim() == 3 && k_TGD.dim() == 3 && q_TAD.size(2) == k_TGD.size(2),
                   "attention of q {} and k {}: expected [T, A, D] and [T, G, D]",
                   c10::str(q_TAD.sizes()), c10::str(k_TGD.sizes()));
  SWITCHYARD_CHECK(k_TGD.size(1) > 0 && q_TAD.size(1) % k_TGD.size(1) == 0,
                   "{} query heads are not a multiple of {} key heads", q_TAD.size(1),
                   k_TGD.size(1));
  SWITCHYARD_CHECK(q_TAD.scalar_type() == k_TGD.scalar_type() && q_TAD.device() == k_TGD.device(),
                   "q and k differ in dtype or device");
  const std::vector<std::int64_t>& offset = options.sequence_offset;
  SWITCHYARD_CHECK(!offset.empty() && offset.front() == 0 && offset.back() == q_TAD.size(0),
                   "sequence_offset must go from 0 to {} tokens", q_TAD.size(0));
  const bool own_keys = options.key_begin.empty();
  SWITCHYARD_CHECK(own_keys ? options.key_end.empty() && k_TGD.size(0) == q_TAD.size(0)
                            : options.key_begin.size() + 1 == offset.size() &&
                                  options.key_end.size() + 1 == offset.size(),
                   "attention needs a key range per sequence, or a key per query");
  for (std::size_t b = 0; b + 1 < offset.size(); ++b) {
    const std::int64_t num_queries = offset[b + 1] - offset[b];
    SWITCHYARD_CHECK(num_queries >= 0, "sequence_offset descends after sequence {}", b);
    if (own_keys) continue;
    SWITCHYARD_CHECK(options.key_begin[b] >= 0 && options.key_end[b] <= k_TGD.size(0) &&
                         options.key_end[b] - options.key_begin[b] >= num_queries,
                     "keys [{}, {}) of {} do not hold the {} queries of sequence {}",
                     options.key_begin[b], options.key_end[b], k_TGD.size(0), num_queries, b);
  }
  if (options.valid_T.defined()) {
    SWITCHYARD_CHECK(options.valid_T.scalar_type() == at::kBool &&
                         options.valid_T.numel() == k_TGD.size(0) &&
                         options.valid_T.is_contiguous(),
                     "valid_T must be a bool for each of the {} keys", k_TGD.size(0));
  }
}

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

class Attention : public torch::autograd::Function<Attention> {
 public:
  static variable_list forward(AutogradContext* ctx, const at::Tensor& q_TAD,
                               const at::Tensor& k_TGD, const at::Tensor& v_TGD,
                               const AttentionOptions& options) {
    const at::Tensor out_TAD = at::empty(q_TAD.sizes(), q_TAD.options());
    const at::Tensor lse_AT =
        at::empty({q_TAD.size(1), q_TAD.size(0)},
                  q_TAD.options().dtype(accumulation_type(q_TAD.scalar_type())));
    const std::vector<kernels::KeySpan> spans = key_spans(options);
    const KernelDevice on(q_TAD.device(), "attention");
    dispatch_storage(q_TAD.scalar_type(), "attention", [&]<typename Storage>() {
      const kernels::AttentionParams<Storage> params{
          .shape = attention_shape<Storage>(on, q_TAD, k_TGD, options, spans),
          .v = read_heads<Storage>(on, v_TGD),
          .out = write_heads<Storage>(on, out_TAD),
          .lse_AT = on.write<kernels::accumulation_t<Storage>>(lse_AT)};
      on.run([&] { kernels::cpu::attention(params); },
             [&](kernels::Stream stream) { kernels::cuda::attention(params, stream); });
    });
    ctx->save_for_backward({q_TAD, k_TGD, v_TGD, out_TAD, lse_AT, options.valid_T});
    ctx->saved_data["sequence_offset"] = options.sequence_offset;
    ctx->saved_data["key_begin"] = options.key_begin;
    ctx->saved_data["key_end"] = options.key_end;
    ctx->saved_data["causal"] = options.causal;
    ctx->saved_data["scale"] = options.scale;
    ctx->mark_non_differentiable({lse_AT});
    return {out_TAD, lse_AT};
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor& q_TAD = saved[0];
    const at::Tensor& k_TGD = saved[1];
    const at::Tensor& v_TGD = saved[2];
    const at::Tensor& out_TAD = saved[3];
    const at::Tensor& lse_AT = saved[4];
    const AttentionOptions options{
        .sequence_offset = ctx->saved_data["sequence_offset"].toIntVector(),
        .causal = ctx->saved_data["causal"].toBool(),
        .scale = ctx->saved_data["scale"].toDouble(),
        .valid_T = saved[5],
        .key_begin = ctx->saved_data["key_begin"].toIntVector(),
        .key_end = ctx->saved_data["key_end"].toIntVector()};
    const at::Tensor dout_TAD = with_dense_heads(grads[0]);
    const at::Tensor dq_TAD = at::empty(q_TAD.sizes(), q_TAD.options());
    // Rows that are no sequence's keys get gradient 0.
    const bool all_rows = options.key_begin.empty();
    const auto like_keys = [&] {
      return all_rows ? at::empty(k_TGD.sizes(), k_TGD.options())
                      : at::zeros(k_TGD.sizes(), k_TGD.options());
    };
    const at::Tensor dk_TGD = like_keys();
    const at::Tensor dv_TGD = like_keys();
    const std::vector<kernels::KeySpan> spans = key_spans(options);
    const KernelDevice on(q_TAD.device(), "attention_backward");
    dispatch_storage(q_TAD.scalar_type(), "attention", [&]<typename Storage>() {
      const kernels::AttentionBackwardParams<Storage> params{
          .shape = attention_shape<Storage>(on, q_TAD, k_TGD, options, spans),
          .v = read_heads<Storage>(on, v_TGD),
          .out = read_heads<Storage>(on, out_TAD),
          .lse_AT = on.read<kernels::accumulation_t<Storage>>(lse_AT),
          .dout = read_heads<Storage>(on, dout_TAD),
          .dq = write_heads<Storage>(on, dq_TAD),
          .dk = write_heads<Storage>(on, dk_TGD),
          .dv = write_heads<Storage>(on, dv_TGD)};
      on.run([&] { kernels::cpu::attention_backward(params); },
             [&](kernels::Stream stream) { kernels::cuda::attention_backward(params, stream); });
    });
    return {dq_TAD, dk_TGD, dv_TGD, {}};
  }
};

}  // namespace

AttentionOutput attention(const at::Tensor& q_TAD, const at::Tensor& k_TGD, const at::Tensor& v_TGD,
                          const AttentionOptions& options) {
  check_attention(q_TAD, k_TGD, options);
  SWITCHYARD_CHECK(v_TGD.sizes() == k_TGD.sizes() && v_TGD.scalar_type() == k_TGD.scalar_type(),
                   "v {} is not shaped and typed as k {}", c10::str(v_TGD.sizes()),
                   c10::str(k_TGD.sizes()));
  const at::Tensor q = with_dense_heads(q_TAD);
  const at::Tensor k = with_dense_heads(k_TGD);
  const at::Tensor v = with_dense_heads(v_TGD);
  if (takes_flash_attention(q, k, v, options)) return flash_attention(q, k, v, options);
  const variable_list out = Attention::apply(q, k, v, options);
  return {out[0], out[1]};
}

}  // namespace switchyard::ops
