#include "switchyard/ops/swiglu.h"

#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/custom_function.h>

#include "ops/dispatch.h"
#include "ops/kernel_device.h"
#include "switchyard/core/error.h"
#include "switchyard/kernels/swiglu.h"

namespace switchyard::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

void check_gate_up(const at::Tensor& gate_up_N2F) {
  SWITCHYARD_CHECK(gate_up_N2F.dim() == 2 && gate_up_N2F.size(1) % 2 == 0,
                   "swiglu takes [N, 2F], got {}", c10::str(gate_up_N2F.sizes()));
}

struct WantedBackward {
  bool activation = true;
  bool dweight = true;
};

SwigluBackward backward(const at::Tensor& gate_up_N2F, const at::Tensor& d_NF,
                        const at::Tensor& row_weight_N, WantedBackward wanted) {
  check_gate_up(gate_up_N2F);
  const std::int64_t num_rows = gate_up_N2F.size(0);
  const std::int64_t size = gate_up_N2F.size(1) / 2;
  const at::ScalarType accumulation = accumulation_type(gate_up_N2F.scalar_type());
  SWITCHYARD_CHECK(d_NF.dim() == 2 && d_NF.size(0) >= num_rows && d_NF.size(1) == size &&
                       d_NF.scalar_type() == gate_up_N2F.scalar_type(),
                   "swiglu_backward of {} and {}", c10::str(gate_up_N2F.sizes()),
                   c10::str(d_NF.sizes()));
  SWITCHYARD_CHECK(
      !row_weight_N.defined() || (row_weight_N.dim() == 1 && row_weight_N.size(0) == num_rows &&
                                  row_weight_N.scalar_type() == accumulation),
      "swiglu_backward needs [{}] weights in the accumulation type", num_rows);
  const at::Tensor gate_up = gate_up_N2F.contiguous();
  const at::Tensor d = d_NF.contiguous();
  const at::Tensor weight = row_weight_N.defined() ? row_weight_N.contiguous() : row_weight_N;
  SwigluBackward out;
  out.dgate_up_N2F = at::empty({d.size(0), 2 * size}, d.options());
  if (wanted.activation) out.activation_NF = at::empty({d.size(0), size}, d.options());
  if (wanted.dweight) out.dweight_N = at::empty({num_rows}, d.options().dtype(accumulation));
  const KernelDevice on(d.device(), "swiglu_backward");
  dispatch_storage(d.scalar_type(), "swiglu_backward", [&]<typename Storage>() {
    using T = kernels::accumulation_t<Storage>;
    const kernels::SwigluBackwardParams<Storage> params{
        .gate_up_N2F = on.read<Storage>(gate_up),
        .d_NF = on.read<Storage>(d),
        .row_weight_N = on.read_if_defined<T>(weight),
        .num_rows = num_rows,
        .padded_rows = d.size(0),
        .size = size,
        .dgate_up_N2F = on.write<Storage>(out.dgate_up_N2F),
        .activation_NF = on.write_if_defined<Storage>(out.activation_NF),
        .dweight_N = on.write_if_defined<T>(out.dweight_N)};
    on.run([&] { kernels::cpu::swiglu_backward(params); },
           [&](kernels::Stream stream) { kernels::cuda::swiglu_backward(params, stream); });
  });
  return out;
}

class Swiglu : public torch::autograd::Function<Swiglu> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& gate_up) {
    ctx->save_for_backward({gate_up});
    std::vector<std::int64_t> shape = gate_up.sizes().vec();
    shape.back() /= 2;
    return swiglu_forward(gate_up.flatten(0, -2)).reshape(shape);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const at::Tensor gate_up = ctx->get_saved_variables()[0];
    return {ops::backward(gate_up.flatten(0, -2), grads[0].flatten(0, -2), {},
                          {.activation = false, .dweight = false})
                .dgate_up_N2F.reshape(gate_up.sizes())};
  }
};

}  // namespace

at::Tensor swiglu_forward(const at::Tensor& gate_up_N2F) {
  check_gate_up(gate_up_N2F);
  const at::Tensor gate_up = gate_up_N2F.contiguous();
  const std::int64_t size = gate_up.size(1) / 2;
  const at::Tensor activation_NF = at::empty({gate_up.size(0), size}, gate_up.options());
  const KernelDevice on(gate_up.device(), "swiglu");
  dispatch_storage(gate_up.scalar_type(), "swiglu", [&]<typename Storage>() {
    const kernels::SwigluParams<Storage> params{.gate_up_N2F = on.read<Storage>(gate_up),
                                                .num_rows = gate_up.size(0),
                                                .size = size,
                                                .activation_NF = on.write<Storage>(activation_NF)};
    on.run([&] { kernels::cpu::swiglu(params); },
           [&](kernels::Stream stream) { kernels::cuda::swiglu(params, stream); });
  });
  return activation_NF;
}

SwigluBackward swiglu_backward(const at::Tensor& gate_up_N2F, const at::Tensor& d_NF,
                               const at::Tensor& row_weight_N) {
  return backward(gate_up_N2F, d_NF, row_weight_N, {});
}

at::Tensor swiglu(const at::Tensor& gate_up) {
  SWITCHYARD_CHECK(gate_up.dim() >= 2 && gate_up.size(-1) % 2 == 0,
                   "swiglu takes [..., 2F] with two dims or more, got {}",
                   c10::str(gate_up.sizes()));
  return Swiglu::apply(gate_up);
}

}  // namespace switchyard::ops
