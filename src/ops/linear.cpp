#include "switchyard/ops/linear.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>
#include <torch/csrc/autograd/custom_function.h>

#include <optional>

#include "switchyard/core/error.h"
#include "switchyard/ops/product.h"

namespace switchyard::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::Tensor multiply(const at::Tensor& x_TI, const at::Tensor& weight_OI,
                    const std::optional<at::Tensor>& bias_O) {
  const at::Tensor weight_IO = weight_OI.t();
  if (!bias_O) return product(x_TI, weight_IO);
  const at::Tensor y_TO = at::empty({x_TI.size(0), weight_OI.size(0)}, x_TI.options());
  for_each_row_block(x_TI.device(), x_TI.size(0), x_TI.size(1), weight_OI.size(0),
                     [&](std::int64_t begin, std::int64_t count) {
                       at::Tensor y = y_TO.narrow(0, begin, count);
                       at::addmm_out(y, *bias_O, x_TI.narrow(0, begin, count), weight_IO);
                     });
  return y_TO;
}

struct GradientsWanted {
  bool x = false;
  bool weight = false;
  bool bias = false;
  [[nodiscard]] bool any() const { return x || weight || bias; }
};

class Linear : public torch::autograd::Function<Linear> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x_TI,
                            const at::Tensor& weight_OI, const std::optional<at::Tensor>& bias_O,
                            GradientsWanted wanted) {
    // Each gradient is a product with the other operand: nothing is kept that none takes.
    ctx->save_for_backward(
        {wanted.weight ? x_TI : at::Tensor{}, wanted.x ? weight_OI : at::Tensor{}});
    ctx->saved_data["bias"] = wanted.bias;
    return multiply(x_TI, weight_OI, bias_O);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor& x_TI = saved[0];
    const at::Tensor& weight_OI = saved[1];
    const at::Tensor& dy_TO = grads[0];
    return {weight_OI.defined() ? product(dy_TO, weight_OI) : at::Tensor{},
            x_TI.defined() ? product(dy_TO.t(), x_TI) : at::Tensor{},
            ctx->saved_data["bias"].toBool() ? dy_TO.sum(0) : at::Tensor{},
            {}};
  }
};

}  // namespace

at::Tensor linear(const at::Tensor& x_TI, const at::Tensor& weight_OI,
                  const std::optional<at::Tensor>& bias_O) {
  SWITCHYARD_CHECK(x_TI.dim() == 2 && weight_OI.dim() == 2 && x_TI.size(1) == weight_OI.size(1) &&
                       x_TI.scalar_type() == weight_OI.scalar_type(),
                   "linear of x {} {} with a weight of {} {}", c10::str(x_TI.sizes()),
                   c10::toString(x_TI.scalar_type()), c10::str(weight_OI.sizes()),
                   c10::toString(weight_OI.scalar_type()));
  if (!x_TI.is_cpu()) return at::linear(x_TI, weight_OI, bias_O);
  GradientsWanted wanted;
  if (at::GradMode::is_enabled()) {
    wanted = {.x = x_TI.requires_grad(),
              .weight = weight_OI.requires_grad(),
              .bias = bias_O && bias_O->requires_grad()};
  }
  if (!wanted.any()) return multiply(x_TI, weight_OI, bias_O);
  return Linear::apply(x_TI, weight_OI, bias_O, wanted);
}

}  // namespace switchyard::ops
