// One matrix product per expert and matrix, on the expert's rows.
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <bit>
#include <vector>

#include "moe/expert_compute.h"
#include "moe/expert_slices.h"
#include "switchyard/ops/product.h"
#include "switchyard/ops/row_gather.h"
#include "switchyard/ops/swiglu.h"

namespace switchyard::moe {
namespace {

// How many rows an expert's operands get. oneDNN, which does bf16 on CPUs, prepares code for every
// new shape, and the number of rows changes all the time: rounding it up, to a power of two while
// there are few and later by a sixteenth at most, leaves few shapes to prepare. Zero rows change no
// result.
std::int64_t padded_count(std::int64_t count, const at::Tensor& x) {
  if (!x.is_cpu() || x.scalar_type() != at::kBFloat16) return count;
  const auto power = static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(count)));
  const std::int64_t multiple = std::max(std::min<std::int64_t>(power, 64), power / 32);
  return (count + multiple - 1) / multiple * multiple;
}

// Returns rows m and leaves its first rows, all but the padding, in `out`.
at::Tensor multiply_into(const at::Tensor& out, const at::Tensor& rows, const at::Tensor& m) {
  if (rows.size(0) == out.size(0)) {
    ops::product_into(out, rows, m);
    return out;
  }
  at::Tensor product = ops::product(rows, m);
  out.copy_(product.narrow(0, 0, out.size(0)));
  return product;
}

// sink[e] += a^T b.
void add_outer(const at::Tensor& sink, std::int64_t expert, const at::Tensor& a,
               const at::Tensor& b) {
  if (!sink.defined()) return;
  ops::add_product(sink.select(0, expert), a.t(), b);
}

class LoopExperts final : public ExpertCompute {
 public:
  [[nodiscard]] std::string name() const override { return "loop"; }
  [[nodiscard]] Support supports(const ExpertProblem& problem) const override {
    if (!problem.device.is_cuda()) return {};
    return {.slow_because = "the host waits for the experts' numbers of rows, twice a layer"};
  }

  [[nodiscard]] Forward forward(const at::Tensor& x_TH, const ops::Routing& routing,
                                const at::Tensor& w1_E2FH, const at::Tensor& w2_EHF) override {
    const std::int64_t num_rows = routing.num_rows();
    const at::Tensor gate_up_N2F = at::empty({num_rows, w1_E2FH.size(1)}, x_TH.options());
    const at::Tensor y_NH = at::empty({num_rows, x_TH.size(1)}, x_TH.options());
    for_each_expert(expert_slices(routing), w1_E2FH, [&](const ExpertSlice& slice) {
      const at::Tensor gate_up =
          multiply_into(slice.rows_of(gate_up_N2F), gather(x_TH, slice, routing),
                        w1_E2FH.select(0, slice.expert).t());
      multiply_into(slice.rows_of(y_NH), ops::swiglu_forward(gate_up),
                    w2_EHF.select(0, slice.expert).t());
    });
    return {.gate_up_N2F = gate_up_N2F, .y_TH = add_up_results(y_NH, routing)};
  }

  [[nodiscard]] Backward backward(const at::Tensor& dy_TH, const at::Tensor& x_TH,
                                  const at::Tensor& gate_up_N2F, const ops::Routing& routing,
                                  const at::Tensor& w1_E2FH, const at::Tensor& w2_EHF,
                                  const GradSink& sink) override {
    const std::int64_t num_rows = routing.num_rows();
    const at::Tensor dx_NH = at::empty({num_rows, x_TH.size(1)}, x_TH.options());
    const at::Tensor dweight_N = at::empty({num_rows}, routing.row_weight_N.options());
    for_each_expert(expert_slices(routing), w1_E2FH, [&](const ExpertSlice& slice) {
      const at::Tensor dy_n = gather(dy_TH, slice, routing);
      const ops::SwigluBackward swiglu = ops::swiglu_backward(
          slice.rows_of(gate_up_N2F), ops::product(dy_n, w2_EHF.select(0, slice.expert)),
          slice.rows_of(routing.row_weight_N));
      slice.rows_of(dweight_N).copy_(swiglu.dweight_N);
      add_outer(sink.w2_EHF, slice.expert, dy_n, swiglu.activation_NF);
      if (sink.w1_E2FH.defined()) {
        add_outer(sink.w1_E2FH, slice.expert, swiglu.dgate_up_N2F, gather(x_TH, slice, routing));
      }
      multiply_into(slice.rows_of(dx_NH), swiglu.dgate_up_N2F, w1_E2FH.select(0, slice.expert));
    });
    return {.dx_TH = ops::row_gather_sum(dx_NH, {}, routing), .dweight_N = dweight_N};
  }

 private:
  // The states of the slice's tokens, padded.
  static at::Tensor gather(const at::Tensor& x_TH, const ExpertSlice& slice,
                           const ops::Routing& routing) {
    const std::int64_t count = padded_count(slice.count, x_TH);
    if (!routing.rows_are_tokens()) {
      return ops::row_gather(x_TH, slice.rows_of(routing.row_token_N), count);
    }
    const at::Tensor rows = slice.rows_of(x_TH);
    return count == slice.count ? rows : at::constant_pad_nd(rows, {0, 0, 0, count - slice.count});
  }
};

}  // namespace

std::shared_ptr<ExpertCompute> make_loop_experts() {
  return std::make_shared<LoopExperts>();
}

}  // namespace switchyard::moe
