#include "switchyard/ops/attention_importance.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include "ops/attention_shape.h"
#include "ops/dispatch.h"
#include "ops/kernel_device.h"
#include "switchyard/core/error.h"
#include "switchyard/kernels/attention_importance.h"
#include "switchyard/ops/op_span.h"

namespace switchyard::ops {
namespace {

kernels::AttentionStatistic statistic_of(ImportanceMeasure measure) {
  switch (measure) {
    case ImportanceMeasure::received:
      return kernels::AttentionStatistic::received;
    case ImportanceMeasure::received_peak:
      return kernels::AttentionStatistic::received_peak;
    case ImportanceMeasure::peak:
      return kernels::AttentionStatistic::peak;
    case ImportanceMeasure::entropy:
      return kernels::AttentionStatistic::entropy;
    case ImportanceMeasure::none:
      break;
  }
  SWITCHYARD_CHECK(false, "no importance measure was asked for");
}

}  // namespace

at::Tensor attention_importance(const at::Tensor& q_TAD, const at::Tensor& k_TGD,
                                const at::Tensor& lse_AT, const AttentionOptions& options,
                                ImportanceMeasure measure) {
  const OpSpan span("attention_importance");
  check_attention(q_TAD, k_TGD, options);
  const bool is_received =
      measure == ImportanceMeasure::received || measure == ImportanceMeasure::received_peak;
  SWITCHYARD_CHECK(!is_received || !options.causal,
                   "attention_received reads queries after the token: not for causal models");
  SWITCHYARD_CHECK(!is_received || options.key_begin.empty(),
                   "attention_received needs the queries of all keys");
  SWITCHYARD_CHECK(lse_AT.dim() == 2 && lse_AT.size(0) == q_TAD.size(1) &&
                       lse_AT.size(1) == q_TAD.size(0) && lse_AT.is_contiguous(),
                   "lse must be [A, T] as attention() returned it");
  const at::NoGradGuard no_grad;
  const at::Tensor q = with_dense_heads(q_TAD.detach());
  const at::Tensor k = with_dense_heads(k_TGD.detach());
  const at::Tensor importance_T = at::empty({q.size(0)}, lse_AT.options());
  const std::vector<kernels::KeySpan> spans = key_spans(options);
  const KernelDevice on(q.device(), "attention_importance");
  dispatch_storage(q.scalar_type(), "attention_importance", [&]<typename Storage>() {
    const kernels::AttentionImportanceParams<Storage> params{
        .shape = attention_shape<Storage>(on, q, k, options, spans),
        .lse_AT = on.read<kernels::accumulation_t<Storage>>(lse_AT),
        .statistic = statistic_of(measure),
        .importance_T = on.write<kernels::accumulation_t<Storage>>(importance_T)};
    on.run([&] { kernels::cpu::attention_importance(params); },
           [&](kernels::Stream stream) { kernels::cuda::attention_importance(params, stream); });
  });
  return importance_T;
}

}  // namespace switchyard::ops
