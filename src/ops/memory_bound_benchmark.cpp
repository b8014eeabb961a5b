// The ops that are not matrix products, at the shape of a block of 2048 tokens, hidden 512 and 8
// experts of 1408 (the larger shape of tools/bench/compare_transformers.sh). `bytes_per_second`
// counts what an op must read and write; `copy` is the bound that memory sets in the same run. On
// a busy machine read the CPU column.
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <benchmark/benchmark.h>

#include <functional>

#include "switchyard/ops/backend.h"
#include "switchyard/ops/dropout.h"
#include "switchyard/ops/rms_norm.h"
#include "switchyard/ops/rope.h"
#include "switchyard/ops/row_gather.h"
#include "switchyard/ops/swiglu.h"
#include "switchyard/ops/top_k_route.h"
#include "switchyard/ops/top_p_route.h"

namespace switchyard::ops {
namespace {

constexpr std::int64_t kTokens = 2048;
constexpr std::int64_t kHidden = 512;
constexpr std::int64_t kExperts = 8;
constexpr std::int64_t kExpertSize = 1408;
constexpr std::int64_t kHeads = 8;

// Runs `op`, which moves `num_elements` elements of `dtype`.
void measure(benchmark::State& state, at::ScalarType dtype, std::int64_t num_elements,
             const std::function<void()>& op) {
  op();
  for (auto _ : state) op();
  state.SetBytesProcessed(state.iterations() * num_elements *
                          static_cast<std::int64_t>(c10::elementSize(dtype)));
}

at::Tensor leaf(const std::vector<std::int64_t>& shape, at::ScalarType dtype) {
  install_parallel_backend();
  return at::randn(shape).to(dtype).set_requires_grad(true);
}

// Two experts per token.
RouteOutput routed() {
  return top_k_route(at::randn({kTokens, kExperts}), {},
                     at::tensor({0, static_cast<int>(kTokens)}, at::kInt), {.k = 2, .k_T = {}});
}

void copy(benchmark::State& state, at::ScalarType dtype) {
  const at::Tensor x = leaf({kTokens, kHidden}, dtype).detach();
  at::Tensor y = at::empty_like(x);
  measure(state, dtype, 2 * x.numel(), [&] { y.copy_(x); });
}

void rms_norm_both_ways(benchmark::State& state, at::ScalarType dtype) {
  const at::Tensor x = leaf({kTokens, kHidden}, dtype);
  const at::Tensor weight = leaf({kHidden}, at::kFloat);
  measure(state, dtype, 5 * x.numel(), [&] {
    rms_norm(x, weight, 1e-6).backward(x.detach());
    x.mutable_grad().reset();  // else the next one is added to it
  });
}

void rope_both_ways(benchmark::State& state, at::ScalarType dtype) {
  const at::Tensor x = leaf({kTokens, 2 * kHeads, kHidden / kHeads}, dtype);
  const at::Tensor position_T = at::arange(kTokens, at::kLong);
  measure(state, dtype, 4 * x.numel(), [&] {
    rope(x, position_T, 1e4).backward(x.detach());
    x.mutable_grad().reset();
  });
}

void dropout_forward(benchmark::State& state, at::ScalarType dtype) {
  const at::Tensor x = leaf({kTokens, kHidden}, dtype).detach();
  const at::Tensor token_idx_T = at::arange(kTokens, at::kLong);
  measure(state, dtype, 2 * x.numel(),
          [&] { benchmark::DoNotOptimize(dropout(x, token_idx_T, 0.1, {})); });
}

void swiglu_both_ways(benchmark::State& state, at::ScalarType dtype) {
  const at::Tensor x = leaf({kTokens, 2 * kExpertSize}, dtype).detach();
  const at::Tensor d = leaf({kTokens, kExpertSize}, dtype).detach();
  const at::Tensor weight_N = leaf({kTokens}, at::kFloat).detach();
  // Forward reads 2 and writes 1, backward reads 3 and writes 3 times F.
  measure(state, dtype, 9 * kTokens * kExpertSize, [&] {
    benchmark::DoNotOptimize(swiglu_forward(x));
    benchmark::DoNotOptimize(swiglu_backward(x, d, weight_N).dgate_up_N2F);
  });
}

void gather_and_sum(benchmark::State& state, at::ScalarType dtype) {
  const at::Tensor x_TH = leaf({kTokens, kHidden}, dtype).detach();
  const Routing routing = routed().routing;
  measure(state, dtype, (2 * routing.num_rows() + routing.num_rows() + kTokens) * kHidden, [&] {
    const at::Tensor rows_NH = row_gather(x_TH, routing);
    benchmark::DoNotOptimize(row_gather_sum(rows_NH, routing.row_weight_N, routing));
  });
}

template <typename Route>
void route_both_ways(benchmark::State& state, const Route& route) {
  const at::Tensor logits_TE = leaf({kTokens, kExperts}, at::kFloat);
  const at::Tensor offsets = at::tensor({0, static_cast<int>(kTokens)}, at::kInt);
  measure(state, at::kFloat, 4 * logits_TE.numel(), [&] {
    const RouteOutput out = route(logits_TE, offsets);
    out.routing.row_weight_N.sum().add(out.sums.prob_sum_BE.sum()).backward();
    logits_TE.mutable_grad().reset();
  });
}

void top_k(benchmark::State& state) {
  route_both_ways(state, [](const at::Tensor& logits_TE, const at::Tensor& offsets) {
    return top_k_route(logits_TE, {}, offsets, {.k = 2, .k_T = {}});
  });
}
void top_p(benchmark::State& state) {
  route_both_ways(state, [](const at::Tensor& logits_TE, const at::Tensor& offsets) {
    return top_p_route(logits_TE, {}, offsets, {.p = 0.4});
  });
}

void options(benchmark::internal::Benchmark* b) {
  b->Unit(benchmark::kMicrosecond)->UseRealTime()->MeasureProcessCPUTime();
}

#define SWITCHYARD_OP_BENCHMARK(op)                        \
  BENCHMARK_CAPTURE(op, fp32, at::kFloat)->Apply(options); \
  BENCHMARK_CAPTURE(op, bf16, at::kBFloat16)->Apply(options)

SWITCHYARD_OP_BENCHMARK(copy);
SWITCHYARD_OP_BENCHMARK(rms_norm_both_ways);
SWITCHYARD_OP_BENCHMARK(rope_both_ways);
SWITCHYARD_OP_BENCHMARK(dropout_forward);
SWITCHYARD_OP_BENCHMARK(swiglu_both_ways);
SWITCHYARD_OP_BENCHMARK(gather_and_sum);
BENCHMARK(top_k)->Apply(options);
BENCHMARK(top_p)->Apply(options);

}  // namespace
}  // namespace switchyard::ops
