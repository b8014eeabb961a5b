#include "switchyard/ops/rope.h"

#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>
#include <vector>

#include "ops/attention_shape.h"
#include "ops/dispatch.h"
#include "ops/kernel_device.h"
#include "switchyard/core/error.h"
#include "switchyard/kernels/rope.h"

namespace switchyard::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Cosines and sines of position * theta^(-2d / D), [positions, D/2], on the device that reads them.
struct RopeTables {
  at::Tensor cos;
  at::Tensor sin;
};

template <typename T>
RopeTables make_tables(std::int64_t num_positions, std::int64_t half, double theta,
                       at::ScalarType dtype) {
  const RopeTables tables{at::empty({num_positions, half}, dtype),
                          at::empty({num_positions, half}, dtype)};
  const KernelDevice host(at::kCPU, "rope");
  T* cos = host.write<T>(tables.cos);
  T* sin = host.write<T>(tables.sin);
  for (std::int64_t d = 0; d < half; ++d) {
    const auto frequency =
        static_cast<float>(std::pow(theta, -static_cast<double>(d) / static_cast<double>(half)));
    for (std::int64_t position = 0; position < num_positions; ++position) {
      const double angle = static_cast<float>(position) * frequency;  // the product is in float
      cos[position * half + d] = static_cast<T>(std::cos(angle));
      sin[position * half + d] = static_cast<T>(std::sin(angle));
    }
  }
  return tables;
}

// Tables for positions [0, num_positions) at least, kept for the life of the program (and so never
// destroyed, when a device may be gone already): a model asks for the same ones in every layer of
// every step.
RopeTables tables_for(std::int64_t num_positions, std::int64_t half, double theta,
                      at::ScalarType dtype, at::Device device) {
  using Key = std::tuple<std::int64_t, double, at::ScalarType, std::string>;
  static std::mutex mutex;
  static auto& cache = *new std::map<Key, RopeTables>;
  const std::scoped_lock lock(mutex);
  RopeTables& tables = cache[{half, theta, dtype, device.str()}];
  if (!tables.cos.defined() || tables.cos.size(0) < num_positions) {
    // Doubling, so that a generation that grows by one position does not rebuild each time.
    const std::int64_t had = tables.cos.defined() ? tables.cos.size(0) : 0;
    const std::int64_t size = std::max(num_positions, 2 * had);
    const RopeTables made = dtype == at::kDouble ? make_tables<double>(size, half, theta, dtype)
                                                 : make_tables<float>(size, half, theta, dtype);
    tables = {made.cos.to(device), made.sin.to(device)};
  }
  return tables;
}

void rotate(const at::Tensor& in_TAD, const at::Tensor& out_TAD, const at::Tensor& position_T,
            const RopeTables& tables, bool inverse) {
  const KernelDevice on(in_TAD.device(), "rope");
  dispatch_storage(in_TAD.scalar_type(), "rope", [&]<typename Storage>() {
    using T = kernels::accumulation_t<Storage>;
    const kernels::RopeParams<Storage> params{.in = read_heads<Storage>(on, in_TAD),
                                              .out = write_heads<Storage>(on, out_TAD),
                                              .num_tokens = in_TAD.size(0),
                                              .num_heads = in_TAD.size(1),
                                              .head_dim = in_TAD.size(2),
                                              .position_T = on.read<std::int64_t>(position_T),
                                              .cos = on.read<T>(tables.cos),
                                              .sin = on.read<T>(tables.sin),
                                              .inverse = inverse};
    on.run([&] { kernels::cpu::rope(params); },
           [&](kernels::Stream stream) { kernels::cuda::rope(params, stream); });
  });
}

class Rope : public torch::autograd::Function<Rope> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& position_T,
                            const RopeTables& tables) {
    const at::Tensor out = at::empty(x.sizes(), x.options());
    rotate(with_dense_heads(x), out, position_T, tables, /*inverse=*/false);
    ctx->save_for_backward({position_T, tables.cos, tables.sin});
    return out;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor dx = at::empty(grads[0].sizes(), grads[0].options());
    rotate(with_dense_heads(grads[0]), dx, saved[0], {saved[1], saved[2]}, /*inverse=*/true);
    return {dx, {}, {}};
  }
};

}  // namespace

at::Tensor rope(const at::Tensor& x_TAD, const at::Tensor& position_T, std::int64_t num_positions,
                double theta) {
  SWITCHYARD_CHECK(x_TAD.dim() == 3 && x_TAD.size(2) % 2 == 0,
                   "rope of {}: expected [T, A, D] with an even D", c10::str(x_TAD.sizes()));
  SWITCHYARD_CHECK(position_T.scalar_type() == at::kLong && position_T.is_contiguous() &&
                       position_T.numel() == x_TAD.size(0),
                   "rope needs one int64 position for each of {} tokens", x_TAD.size(0));
  SWITCHYARD_CHECK(position_T.device() == x_TAD.device(), "positions on {}, heads on {}",
                   position_T.device().str(), x_TAD.device().str());
  if (x_TAD.is_cpu() && position_T.numel() > 0) {  // on a device, looking would make the host wait
    const auto position = host_values<std::int64_t>(position_T);
    const auto [low, high] = std::minmax_element(position.begin(), position.end());
    SWITCHYARD_CHECK(*low >= 0 && *high < num_positions, "positions {} to {}, expected 0 to {}",
                     *low, *high, num_positions - 1);
  }
  return Rope::apply(x_TAD, position_T,
                     tables_for(num_positions, x_TAD.size(2) / 2, theta,
                                accumulation_type(x_TAD.scalar_type()), x_TAD.device()));
}

}  // namespace switchyard::ops
