// Expert layers, forward and backward, with a routing that changes from call to call. Beside each
// implementation runs one dense product chain of as many rows: the bound that routing costs
// nothing.
//   expert_compute_benchmark [--benchmark_filter=REGEX]
// `flops` counts 18 N H F; on a busy machine read the CPU column.
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <benchmark/benchmark.h>

#include <cstdint>
#include <vector>

#include "switchyard/moe/expert_compute.h"
#include "switchyard/ops/backend.h"
#include "switchyard/ops/swiglu.h"
#include "switchyard/ops/top_p_route.h"

namespace switchyard::moe {
namespace {

struct Layer {
  at::Tensor x_TH, dy_TH, w1_E2FH, w2_EHF;
  GradSink sink;
  std::vector<ops::Routing> routings;

  Layer(std::int64_t num_tokens, std::int64_t hidden, std::int64_t size, at::ScalarType dtype)
      : x_TH(at::randn({num_tokens, hidden}).to(dtype)),
        dy_TH(at::randn({num_tokens, hidden}).to(dtype)),
        w1_E2FH(at::randn({kNumExperts, 2 * size, hidden}).mul(0.02).to(dtype)),
        w2_EHF(at::randn({kNumExperts, hidden, size}).mul(0.02).to(dtype)),
        sink{.w1_E2FH = at::zeros(w1_E2FH.sizes()), .w2_EHF = at::zeros(w2_EHF.sizes())} {
    ops::install_parallel_backend();
    const at::Tensor offsets = at::tensor({0, static_cast<int>(num_tokens)}, at::kInt);
    for (int i = 0; i < 16; ++i) {
      // Mean k about 1.7, experts loaded up to 1.4 times the mean.
      const at::Tensor logits_TE =
          at::randn({num_tokens, kNumExperts}).mul(2.2).add(at::randn({kNumExperts}).mul(0.3));
      routings.push_back(ops::top_p_route(logits_TE, {}, offsets, {.p = 0.7}).routing);
    }
  }
  static constexpr std::int64_t kNumExperts = 8;
};

void count_flops(benchmark::State& state, const Layer& layer, std::int64_t num_rows) {
  const auto flops = static_cast<double>(18 * num_rows * layer.x_TH.size(1) * layer.w2_EHF.size(2));
  state.counters["flops"] = benchmark::Counter(flops, benchmark::Counter::kIsRate);
}

at::ScalarType dtype_of(std::int64_t argument) {
  return argument == 0 ? at::kFloat : at::kBFloat16;
}

void run_experts(benchmark::State& state, const char* name) {
  const at::ScalarType dtype = dtype_of(state.range(3));
  Layer layer(state.range(0), state.range(1), state.range(2), dtype);
  const auto compute = make_expert_compute(
      name, {.dtype = dtype, .hidden_size = state.range(1), .expert_size = state.range(2)});
  std::int64_t num_rows = 0;
  std::size_t call = 0;
  for (auto _ : state) {
    const ops::Routing& routing = layer.routings[call++ % layer.routings.size()];
    const auto forward = compute->forward(layer.x_TH, routing, layer.w1_E2FH, layer.w2_EHF);
    const auto backward = compute->backward(layer.dy_TH, layer.x_TH, forward.gate_up_N2F, routing,
                                            layer.w1_E2FH, layer.w2_EHF, layer.sink);
    benchmark::DoNotOptimize(backward.dx_TH.const_data_ptr());
    num_rows += routing.num_rows();
  }
  count_flops(state, layer, num_rows);
}

// All rows through expert 0, rows in one block, shapes that do not change.
void run_dense(benchmark::State& state) {
  const at::ScalarType dtype = dtype_of(state.range(3));
  Layer layer(state.range(0), state.range(1), state.range(2), dtype);
  std::int64_t num_rows = 0;
  for (const ops::Routing& routing : layer.routings) num_rows += routing.num_rows();
  num_rows = num_rows / static_cast<std::int64_t>(layer.routings.size()) / 64 * 64;
  const at::Tensor x_NH = at::randn({num_rows, state.range(1)}).to(dtype);
  const at::Tensor w1 = layer.w1_E2FH[0];
  const at::Tensor w2 = layer.w2_EHF[0];
  std::int64_t total = 0;
  for (auto _ : state) {
    const at::Tensor gate_up = at::mm(x_NH, w1.t());
    const at::Tensor y_NH = at::mm(ops::swiglu_forward(gate_up), w2.t());
    const auto swiglu = ops::swiglu_backward(gate_up, at::mm(y_NH, w2), {});
    benchmark::DoNotOptimize(at::mm(y_NH.t(), swiglu.activation_NF).const_data_ptr());
    benchmark::DoNotOptimize(at::mm(swiglu.dgate_up_N2F.t(), x_NH).const_data_ptr());
    benchmark::DoNotOptimize(at::mm(swiglu.dgate_up_N2F, w1).const_data_ptr());
    total += num_rows;
  }
  count_flops(state, layer, total);
}

void shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"T", "H", "F", "bf16"});
  for (const std::int64_t bf16 : {0, 1}) {
    b->Args({2048, 192, 192, bf16});
    b->Args({2048, 256, 256, bf16});
    b->Args({2048, 512, 1408, bf16});
  }
  b->Unit(benchmark::kMillisecond)->UseRealTime()->MeasureProcessCPUTime();
}

BENCHMARK_CAPTURE(run_experts, loop, "loop")->Apply(shapes);
BENCHMARK_CAPTURE(run_experts, grouped_mm, "grouped_mm")->Apply(shapes);
BENCHMARK(run_dense)->Apply(shapes);

}  // namespace
}  // namespace switchyard::moe
