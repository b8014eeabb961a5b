#include "switchyard/ops/embedding.h"

#include <ATen/ops/index_select.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cstdint>

#include "ops/dispatch.h"
#include "ops/kernel_device.h"
#include "switchyard/core/error.h"
#include "switchyard/kernels/embedding.h"

namespace switchyard::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

void add_gradient(const at::Tensor& dy, const at::Tensor& token_T, const at::Tensor& dweight_VH) {
  const at::Tensor dy_TH = dy.contiguous();
  const KernelDevice on(dy.device(), "embedding_backward");
  dispatch_storage(dy.scalar_type(), "embedding", [&]<typename Storage>() {
    const kernels::EmbeddingBackwardParams<Storage> params{
        .dy_TH = on.read<Storage>(dy_TH),
        .token_T = on.read<std::int64_t>(token_T),
        .num_tokens = dy_TH.size(0),
        .row_size = dy_TH.size(1),
        .vocab_size = dweight_VH.size(0),
        .dweight_VH = on.write<kernels::accumulation_t<Storage>>(dweight_VH)};
    on.run([&] { kernels::cpu::embedding_backward(params); },
           [&](kernels::Stream stream) { kernels::cuda::embedding_backward(params, stream); });
  });
}

// Hides the buffer from autograd, which refuses undefined tensors as arguments.
struct GradientBuffer {
  at::Tensor weight_VH;
};

class Embedding : public torch::autograd::Function<Embedding> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& weight_VH,
                            const at::Tensor& token_T, const GradientBuffer& buffer) {
    ctx->save_for_backward({token_T});
    ctx->saved_data["buffer"] = buffer.weight_VH;
    ctx->saved_data["shape"] = weight_VH.sizes().vec();
    return at::index_select(weight_VH, 0, token_T);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const at::Tensor token_T = ctx->get_saved_variables()[0];
    const at::Tensor& dy = grads[0];
    const at::Tensor buffer_VH = ctx->saved_data["buffer"].toTensor();
    if (buffer_VH.defined()) {
      add_gradient(dy, token_T, buffer_VH);
      return {{}, {}, {}};
    }
    const at::Tensor dweight_VH =
        at::zeros(ctx->saved_data["shape"].toIntVector(),
                  dy.options().dtype(accumulation_type(dy.scalar_type())));
    add_gradient(dy, token_T, dweight_VH);
    return {dweight_VH.to(dy.scalar_type()), {}, {}};
  }
};

}  // namespace

at::Tensor embedding(const at::Tensor& token_T, const at::Tensor& weight_VH,
                     const at::Tensor& weight_grad_VH) {
  SWITCHYARD_CHECK(token_T.dim() == 1 && token_T.scalar_type() == at::kLong &&
                       token_T.is_contiguous() && weight_VH.dim() == 2,
                   "embedding of tokens {} in a table {}", c10::str(token_T.sizes()),
                   c10::str(weight_VH.sizes()));
  if (token_T.is_cpu() && token_T.numel() > 0) {
    const auto token = host_values<std::int64_t>(token_T);
    const auto [low, high] = std::minmax_element(token.begin(), token.end());
    if (*low < 0 || *high >= weight_VH.size(0)) {
      throw DataError(fmt::format("token {} is outside the vocabulary of {}",
                                  *low < 0 ? *low : *high, weight_VH.size(0)),
                      "prepare the data with the model's tokenizer");
    }
  }
  return Embedding::apply(weight_VH, token_T, GradientBuffer{weight_grad_VH});
}

}  // namespace switchyard::ops
