#include "switchyard/ops/dropout.h"

#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/custom_function.h>

#include "ops/dispatch.h"
#include "ops/kernel_device.h"
#include "switchyard/core/error.h"
#include "switchyard/core/philox.h"
#include "switchyard/kernels/dropout.h"

namespace switchyard::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr std::int64_t kNumLayers = 1 << 24;
constexpr std::int64_t kNumSites = 1 << 8;

at::Tensor drop(const at::Tensor& x_in, const at::Tensor& token_idx_T, double rate,
                const DropoutPlace& place) {
  const at::Tensor x = x_in.contiguous();
  const at::Tensor y = at::empty(x.sizes(), x.options());
  const KernelDevice on(x.device(), "dropout");
  dispatch_storage(x.scalar_type(), "dropout", [&]<typename Storage>() {
    const kernels::DropoutParams<Storage> params{
        .x = on.read<Storage>(x),
        .y = on.write<Storage>(y),
        .token_idx_T = on.read<std::int64_t>(token_idx_T),
        .num_tokens = x.size(0),
        .row_size = x.size(1),
        .rate = rate,
        .key = philox_key(place.seed),
        .step = static_cast<std::uint32_t>(place.step),
        .place = static_cast<std::uint32_t>(place.layer << 8 | place.site)};
    on.run([&] { kernels::cpu::dropout(params); },
           [&](kernels::Stream stream) { kernels::cuda::dropout(params, stream); });
  });
  return y;
}

class Dropout : public torch::autograd::Function<Dropout> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x_TH,
                            const at::Tensor& token_idx_T, double rate, const DropoutPlace& place) {
    ctx->save_for_backward({token_idx_T});
    ctx->saved_data["rate"] = rate;
    ctx->saved_data["seed"] = static_cast<std::int64_t>(place.seed);
    ctx->saved_data["step"] = place.step;
    ctx->saved_data["layer"] = place.layer;
    ctx->saved_data["site"] = place.site;
    return drop(x_TH, token_idx_T, rate, place);
  }

  // Linear in x with a mask that is a pure function of the place: the same function again.
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const DropoutPlace place{.seed = static_cast<std::uint64_t>(ctx->saved_data["seed"].toInt()),
                             .step = ctx->saved_data["step"].toInt(),
                             .layer = ctx->saved_data["layer"].toInt(),
                             .site = ctx->saved_data["site"].toInt()};
    const at::Tensor dx =
        drop(grads[0], ctx->get_saved_variables()[0], ctx->saved_data["rate"].toDouble(), place);
    return {dx, {}, {}, {}};
  }
};

}  // namespace

at::Tensor dropout(const at::Tensor& x_TH, const at::Tensor& token_idx_T, double rate,
                   const DropoutPlace& place) {
  SWITCHYARD_CHECK(rate >= 0.0 && rate < 1.0, "dropout rate is {}, expected 0 <= rate < 1", rate);
  if (rate == 0.0) return x_TH;
  SWITCHYARD_CHECK(x_TH.dim() == 2 && token_idx_T.defined() &&
                       token_idx_T.scalar_type() == at::kLong && token_idx_T.is_contiguous() &&
                       token_idx_T.numel() == x_TH.size(0),
                   "dropout of {} needs an int64 index for each token", c10::str(x_TH.sizes()));
  SWITCHYARD_CHECK(
      place.layer >= 0 && place.layer < kNumLayers && place.site >= 0 && place.site < kNumSites,
      "dropout layer {} or site {} is out of range", place.layer, place.site);
  return Dropout::apply(x_TH, token_idx_T, rate, place);
}

}  // namespace switchyard::ops
