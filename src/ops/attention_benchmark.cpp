// Attention forward and backward against torch's fused CPU operator and plain batched products of
// the same run, 8 sequences of 256 tokens and 6 heads. `vs_*` is how many times longer they take.
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu_backward.h>
#include <ATen/ops/_softmax_backward_data.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/softmax.h>
#include <benchmark/benchmark.h>

#include <chrono>
#include <functional>

#include "switchyard/ops/attention.h"
#include "switchyard/ops/backend.h"

namespace switchyard::ops {
namespace {

constexpr std::int64_t kSequences = 8;
constexpr std::int64_t kLength = 256;
constexpr std::int64_t kHeads = 6;

double milliseconds(const std::function<void()>& run) {
  const auto start = std::chrono::steady_clock::now();
  run();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
      .count();
}

struct Inputs {
  at::Tensor q, k, v, dout;  // [B, A, S, D] as views of [B, S, A, D]
};

void flash(const Inputs& in) {
  const auto out =
      at::_scaled_dot_product_flash_attention_for_cpu(in.q, in.k, in.v, 0.0, /*is_causal=*/true);
  (void)at::_scaled_dot_product_flash_attention_for_cpu_backward(
      in.dout, in.q, in.k, in.v, std::get<0>(out), std::get<1>(out), 0.0, true);
}

// One sequence at a time, so that its scores stay in cache; without the causal mask's cost.
void products(const Inputs& in) {
  for (std::int64_t b = 0; b < kSequences; ++b) {
    const at::Tensor q = in.q[b].contiguous();
    const at::Tensor k = in.k[b].contiguous();
    const at::Tensor v = in.v[b].contiguous();
    const at::Tensor dout = in.dout[b].contiguous();
    const at::Tensor probs = at::softmax(at::bmm(q, k.transpose(1, 2)), -1);
    benchmark::DoNotOptimize(at::bmm(probs, v));
    benchmark::DoNotOptimize(at::bmm(probs.transpose(1, 2), dout));
    const at::Tensor dscores = at::_softmax_backward_data(at::bmm(dout, v.transpose(1, 2)), probs,
                                                          -1, probs.scalar_type());
    benchmark::DoNotOptimize(at::bmm(dscores, k));
    benchmark::DoNotOptimize(at::bmm(dscores.transpose(1, 2), q));
  }
}

void forward_and_backward(benchmark::State& state, at::ScalarType dtype) {
  install_parallel_backend();
  const std::int64_t head_dim = state.range(0);
  const auto random = [&] { return at::randn({kSequences, kLength, kHeads, head_dim}).to(dtype); };
  const at::Tensor q = random();
  const at::Tensor k = random();
  const at::Tensor v = random();
  const at::Tensor dout = random();
  const Inputs peers{q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), dout.transpose(1, 2)};
  const std::vector<std::int64_t> packed{kSequences * kLength, kHeads, head_dim};
  AttentionOptions options;
  for (std::int64_t b = 0; b <= kSequences; ++b) options.sequence_offset.push_back(b * kLength);
  double own_ms = 0.0;
  double flash_ms = 0.0;
  double products_ms = 0.0;
  for (auto _ : state) {
    const double own = milliseconds([&] {
      const at::Tensor q_leaf = q.view(packed).detach().set_requires_grad(true);
      const at::Tensor k_leaf = k.view(packed).detach().set_requires_grad(true);
      const at::Tensor v_leaf = v.view(packed).detach().set_requires_grad(true);
      attention(q_leaf, k_leaf, v_leaf, options).out_TAD.backward(dout.view(packed));
    });
    state.SetIterationTime(own / 1e3);
    own_ms += own;
    const at::NoGradGuard no_grad;
    flash_ms += milliseconds([&] { flash(peers); });
    products_ms += milliseconds([&] { products(peers); });
  }
  state.counters["vs_flash"] = flash_ms / own_ms;
  state.counters["vs_products"] = products_ms / own_ms;
}

BENCHMARK_CAPTURE(forward_and_backward, fp32, at::kFloat)
    ->Arg(32)
    ->Arg(64)
    ->Unit(benchmark::kMillisecond)
    ->UseManualTime();
BENCHMARK_CAPTURE(forward_and_backward, bf16, at::kBFloat16)
    ->Arg(32)
    ->Arg(64)
    ->Unit(benchmark::kMillisecond)
    ->UseManualTime();

}  // namespace
}  // namespace switchyard::ops
