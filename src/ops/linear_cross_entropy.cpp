#include "switchyard/ops/linear_cross_entropy.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cstdint>

#include "ops/dispatch.h"
#include "ops/kernel_device.h"
#include "switchyard/core/error.h"
#include "switchyard/kernels/linear_cross_entropy.h"
#include "switchyard/ops/product.h"

namespace switchyard::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

void check(const at::Tensor& x_TH, const at::Tensor& weight_VH, const at::Tensor& label_T) {
  SWITCHYARD_CHECK(x_TH.dim() == 2 && weight_VH.dim() == 2 && x_TH.size(1) == weight_VH.size(1) &&
                       x_TH.scalar_type() == weight_VH.scalar_type(),
                   "linear_cross_entropy of x {} {} and weight {} {}", c10::str(x_TH.sizes()),
                   c10::toString(x_TH.scalar_type()), c10::str(weight_VH.sizes()),
                   c10::toString(weight_VH.scalar_type()));
  SWITCHYARD_CHECK(label_T.scalar_type() == at::kLong && label_T.is_contiguous() &&
                       label_T.numel() == x_TH.size(0),
                   "expected an int64 label for each of {} tokens", x_TH.size(0));
  if (!label_T.is_cpu() || label_T.numel() == 0) return;
  const auto label = host_values<std::int64_t>(label_T);
  const auto [low, high] = std::minmax_element(label.begin(), label.end());
  if (*low < -1 || *high >= weight_VH.size(0)) {
    throw DataError(fmt::format("label {} is neither -1 nor in the vocabulary of {}",
                                *low < -1 ? *low : *high, weight_VH.size(0)),
                    "prepare the data with the model's tokenizer");
  }
}

// Elements from one row of logits to the next. Where rows of bf16 do not begin at multiples of 16
// bytes, a GPU's products and our kernel read them one by one: a vocabulary of 8,195 pieces, say.
std::int64_t row_stride(std::int64_t vocab_size, bool on_gpu) {
  constexpr std::int64_t kAligned = 8;
  return on_gpu ? (vocab_size + kAligned - 1) / kAligned * kAligned : vocab_size;
}

// The first vocab_size columns of rows_NS are logits -> the loss of each row and, if asked, the
// gradient in the logits' place.
void softmax_cross_entropy(const at::Tensor& rows_NS, std::int64_t vocab_size,
                           const at::Tensor& label_N, const at::Tensor& loss_N,
                           bool write_gradient) {
  const KernelDevice on(rows_NS.device(), "linear_cross_entropy");
  dispatch_storage(rows_NS.scalar_type(), "linear_cross_entropy", [&]<typename Storage>() {
    const kernels::LinearCrossEntropyParams<Storage> params{
        .logits_NV = on.write<Storage>(rows_NS),
        .label_N = on.read<std::int64_t>(label_N),
        .num_rows = rows_NS.size(0),
        .vocab_size = vocab_size,
        .row_stride = rows_NS.size(1),
        .loss_N = on.write<kernels::accumulation_t<Storage>>(loss_N),
        .write_gradient = write_gradient};
    on.run([&] { kernels::cpu::linear_cross_entropy(params); },
           [&](kernels::Stream stream) { kernels::cuda::linear_cross_entropy(params, stream); });
  });
}

struct LossAndGradients {
  at::Tensor loss_T;      // accumulation type
  at::Tensor dx_TH;       // of the sum of the losses; undefined unless asked for
  at::Tensor dweight_VH;  // accumulation type
};

struct GradientsWanted {
  bool x = false;
  bool weight = false;
};

LossAndGradients run_chunks(const at::Tensor& x_in, const at::Tensor& weight_VH,
                            const at::Tensor& label_T, std::int64_t chunk_tokens,
                            GradientsWanted wanted) {
  const at::NoGradGuard no_grad;
  const at::Tensor x_TH = x_in.contiguous();
  const std::int64_t num_tokens = x_TH.size(0);
  const std::int64_t chunk =
      std::min(chunk_tokens > 0 ? chunk_tokens : cross_entropy_chunk_tokens(x_TH.is_cuda()),
               std::max<std::int64_t>(1, num_tokens));
  const auto accumulation = x_TH.options().dtype(accumulation_type(x_TH.scalar_type()));
  LossAndGradients out{
      .loss_T = at::empty({num_tokens}, accumulation),
      .dx_TH = wanted.x ? at::empty(x_TH.sizes(), x_TH.options()) : at::Tensor{},
      .dweight_VH = wanted.weight ? at::zeros(weight_VH.sizes(), accumulation) : at::Tensor{}};
  const std::int64_t vocab_size = weight_VH.size(0);
  const at::Tensor rows_CS =
      at::empty({chunk, row_stride(vocab_size, x_TH.is_cuda())}, x_TH.options());
  for (std::int64_t begin = 0; begin < num_tokens; begin += chunk) {
    const std::int64_t length = std::min(chunk, num_tokens - begin);
    const at::Tensor x_NH = x_TH.narrow(0, begin, length);
    const at::Tensor rows_NS = rows_CS.narrow(0, 0, length);
    const at::Tensor logits_NV = rows_NS.narrow(1, 0, vocab_size);
    product_into(logits_NV, x_NH, weight_VH.t());
    softmax_cross_entropy(rows_NS, vocab_size, label_T.narrow(0, begin, length),
                          out.loss_T.narrow(0, begin, length), wanted.x || wanted.weight);
    if (wanted.x) product_into(out.dx_TH.narrow(0, begin, length), logits_NV, weight_VH);
    if (wanted.weight) add_product(out.dweight_VH, logits_NV.t(), x_NH);
  }
  return out;
}

class LinearCrossEntropy : public torch::autograd::Function<LinearCrossEntropy> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x_TH,
                            const at::Tensor& weight_VH, const at::Tensor& label_T,
                            const LinearCrossEntropyOptions& options, GradientsWanted wanted) {
    const LossAndGradients out = run_chunks(x_TH, weight_VH, label_T, options.chunk_tokens, wanted);
    ctx->save_for_backward({out.dx_TH, out.dweight_VH});
    ctx->saved_data["buffer"] = options.weight_grad_VH;
    ctx->saved_data["weight_dtype"] = weight_VH.scalar_type();
    // In double: the sum over a large micro-batch loses digits that single losses have.
    return out.loss_T.sum(at::kDouble).to(out.loss_T.scalar_type());
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor& scale = grads[0];
    at::Tensor dx_TH = saved[0];
    at::Tensor dweight_VH = saved[1];
    if (dx_TH.defined()) dx_TH = at::mul(dx_TH, scale);
    if (dweight_VH.defined()) {
      const at::Tensor buffer_VH = ctx->saved_data["buffer"].toTensor();
      if (buffer_VH.defined()) {
        buffer_VH.addcmul_(dweight_VH, scale);
        dweight_VH.reset();
      } else {
        dweight_VH = at::mul(dweight_VH, scale).to(ctx->saved_data["weight_dtype"].toScalarType());
      }
    }
    return {dx_TH, dweight_VH, {}, {}, {}};
  }
};

}  // namespace

at::Tensor linear_cross_entropy(const at::Tensor& x_TH, const at::Tensor& weight_VH,
                                const at::Tensor& label_T,
                                const LinearCrossEntropyOptions& options) {
  check(x_TH, weight_VH, label_T);
  const bool grad = at::GradMode::is_enabled();
  return LinearCrossEntropy::apply(x_TH, weight_VH, label_T, options,
                                   GradientsWanted{.x = grad && x_TH.requires_grad(),
                                                   .weight = grad && weight_VH.requires_grad()});
}

at::Tensor linear_cross_entropy_per_token(const at::Tensor& x_TH, const at::Tensor& weight_VH,
                                          const at::Tensor& label_T) {
  check(x_TH, weight_VH, label_T);
  return run_chunks(x_TH, weight_VH, label_T, /*chunk_tokens=*/0, {}).loss_T;
}

}  // namespace switchyard::ops
