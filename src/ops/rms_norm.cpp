#include "switchyard/ops/rms_norm.h"

#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/custom_function.h>

#include "ops/dispatch.h"
#include "ops/kernel_device.h"
#include "switchyard/core/error.h"
#include "switchyard/kernels/rms_norm.h"

namespace switchyard::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

class RmsNorm : public torch::autograd::Function<RmsNorm> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x_in, const at::Tensor& weight,
                            double eps) {
    const at::Tensor x = x_in.contiguous();
    const at::ScalarType accumulation = accumulation_type(x.scalar_type());
    const at::Tensor weight_H = weight.to(accumulation).contiguous();
    const std::int64_t row_size = weight_H.size(0);
    const std::int64_t num_rows = x.numel() / row_size;
    const at::Tensor y = at::empty(x.sizes(), x.options());
    const at::Tensor inverse_N = at::empty({num_rows}, x.options().dtype(accumulation));
    const KernelDevice on(x.device(), "rms_norm");
    dispatch_storage(x.scalar_type(), "rms_norm", [&]<typename Storage>() {
      using T = kernels::accumulation_t<Storage>;
      const kernels::RmsNormParams<Storage> params{.x = on.read<Storage>(x),
                                                   .weight_H = on.read<T>(weight_H),
                                                   .num_rows = num_rows,
                                                   .row_size = row_size,
                                                   .eps = eps,
                                                   .y = on.write<Storage>(y),
                                                   .inverse_N = on.write<T>(inverse_N)};
      on.run([&] { kernels::cpu::rms_norm(params); },
             [&](kernels::Stream stream) { kernels::cuda::rms_norm(params, stream); });
    });
    ctx->save_for_backward({x, weight_H, inverse_N});
    ctx->saved_data["weight_dtype"] = weight.scalar_type();
    return y;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor& x = saved[0];
    const at::Tensor& weight_H = saved[1];
    const at::Tensor dy = grads[0].contiguous();
    const at::Tensor dx = at::empty(x.sizes(), x.options());
    const at::Tensor dweight_H = at::empty(weight_H.sizes(), weight_H.options());
    const KernelDevice on(x.device(), "rms_norm_backward");
    dispatch_storage(x.scalar_type(), "rms_norm", [&]<typename Storage>() {
      using T = kernels::accumulation_t<Storage>;
      const kernels::RmsNormBackwardParams<Storage> params{.x = on.read<Storage>(x),
                                                           .weight_H = on.read<T>(weight_H),
                                                           .inverse_N = on.read<T>(saved[2]),
                                                           .dy = on.read<Storage>(dy),
                                                           .num_rows = saved[2].size(0),
                                                           .row_size = weight_H.size(0),
                                                           .dx = on.write<Storage>(dx),
                                                           .dweight_H = on.write<T>(dweight_H)};
      on.run([&] { kernels::cpu::rms_norm_backward(params); },
             [&](kernels::Stream stream) { kernels::cuda::rms_norm_backward(params, stream); });
    });
    return {dx, dweight_H.to(ctx->saved_data["weight_dtype"].toScalarType()), {}};
  }
};

}  // namespace

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight_H, double eps) {
  SWITCHYARD_CHECK(
      x.dim() >= 1 && weight_H.dim() == 1 && weight_H.size(0) > 0 && x.size(-1) == weight_H.size(0),
      "rms_norm of {} with a weight of {}", c10::str(x.sizes()), c10::str(weight_H.sizes()));
  return RmsNorm::apply(x, weight_H, eps);
}

}  // namespace switchyard::ops
