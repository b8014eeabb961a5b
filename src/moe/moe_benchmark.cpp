// Routing, dispatch, experts and combine under routings that load the experts in different ways,
// beside what LibTorch's own operators take for the same work.
//   moe_benchmark [flags of ops/op_benchmark.h]     names: WHAT/SHAPE/ROUTING
// tools/bench/moe.py makes tables of it.
#include <ATen/ops/_grouped_mm.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cumsum.h>
#include <ATen/ops/embedding_bag.h>
#include <ATen/ops/index_add.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/repeat_interleave.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/sort.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "moe/benchmark_routings.h"
#include "ops/op_benchmark.h"
#include "switchyard/core/error.h"
#include "switchyard/moe/expert_compute.h"
#include "switchyard/ops/product.h"
#include "switchyard/ops/row_gather.h"
#include "switchyard/ops/swiglu.h"

namespace switchyard::moe {
namespace {

using ops::BenchmarkOptions;
using ops::BenchmarkShape;
using ops::Work;

// ---------------------------------------------------------------- the layer

// Everything that the benchmarks of one shape and routing use; made when the first of them runs.
struct Problem {
  Routed routed;
  at::Tensor x_TH, dy_TH, w1_E2FH, w2_EHF;
  GradSink sink;

  Problem(const BenchmarkShape& shape, const std::string& name, const BenchmarkOptions& options)
      : routed(Routings(shape, options).make(name)),
        x_TH(options.random({shape.num_tokens, shape.hidden_size})),
        dy_TH(options.random({shape.num_tokens, shape.hidden_size})),
        w1_E2FH(
            options.random({shape.num_experts, 2 * shape.expert_size, shape.hidden_size}, 0.02)),
        w2_EHF(options.random({shape.num_experts, shape.hidden_size, shape.expert_size}, 0.02)),
        sink{.w1_E2FH = at::zeros(w1_E2FH.sizes(), options.tensor(at::kFloat)),
             .w2_EHF = at::zeros(w2_EHF.sizes(), options.tensor(at::kFloat))} {}

  [[nodiscard]] const ops::Routing& routing() const { return routed.routing; }
  // Matrix products of one forward; a backward has twice as many.
  [[nodiscard]] double forward_flops() const {
    return 6.0 * static_cast<double>(routing().num_rows() * x_TH.size(1) * w2_EHF.size(2));
  }
};

// The same layer of LibTorch's operators, as Python code usually has it: the pairs sorted by
// expert, autograd behind everything.
class TorchLayer {
 public:
  explicit TorchLayer(const Problem& problem)
      : x_(leaf(problem.x_TH)), w1_(leaf(problem.w1_E2FH)), w2_(leaf(problem.w2_EHF)) {
    const ops::Routing& routing = problem.routing();
    num_experts_ = routing.num_experts;
    const at::Tensor row_N = routing.token_row_N.to(at::kLong);  // rows, token by token
    const at::Tensor offset_E1 = routing.expert_offset_E1.to(at::kLong);
    const at::Tensor expert_of_row_N = at::repeat_interleave(
        at::arange(num_experts_, offset_E1.options()),
        offset_E1.narrow(0, 1, num_experts_).sub(offset_E1.narrow(0, 0, num_experts_)));
    expert_N_ = at::index_select(expert_of_row_N, 0, row_N);
    token_N_ = at::index_select(routing.row_token_N.to(at::kLong), 0, row_N);
    weight_N_ = leaf(at::index_select(routing.row_weight_N, 0, row_N).to(x_.scalar_type()));
  }

  [[nodiscard]] at::Tensor forward() const {
    const auto [sorted_N, order_N] =
        at::sort(expert_N_, /*stable=*/true, /*dim=*/0, /*descending=*/false);
    const at::Tensor token_N = at::index_select(token_N_, 0, order_N);
    const at::Tensor count_E = at::zeros({num_experts_}, sorted_N.options())
                                   .scatter_add_(0, sorted_N, at::ones_like(sorted_N));
    const at::Tensor end_E = at::cumsum(count_E, 0).to(at::kInt);
    const at::Tensor gate_up_N2F =
        at::_grouped_mm(at::index_select(x_, 0, token_N), w1_.transpose(1, 2), end_E);
    const std::int64_t expert_size = w2_.size(2);
    const at::Tensor activation_NF = at::silu(gate_up_N2F.narrow(1, 0, expert_size))
                                         .mul(gate_up_N2F.narrow(1, expert_size, expert_size));
    const at::Tensor y_NH = at::_grouped_mm(activation_NF, w2_.transpose(1, 2), end_E);
    const at::Tensor weight_N1 = at::index_select(weight_N_, 0, order_N).unsqueeze(1);
    return at::index_add(at::zeros_like(x_), 0, token_N, y_NH.mul(weight_N1));
  }

  void forward_and_backward(const at::Tensor& dy_TH) {
    const at::AutoGradMode with_grad(true);
    for (at::Tensor* input : {&x_, &w1_, &w2_, &weight_N_}) input->mutable_grad().reset();
    forward().backward(dy_TH);
  }

 private:
  static at::Tensor leaf(const at::Tensor& tensor) {
    return tensor.detach().set_requires_grad(true);
  }

  at::Tensor x_, w1_, w2_, weight_N_, expert_N_, token_N_;
  std::int64_t num_experts_ = 0;
};

// As many rows through one expert, in one block: the bound that routing costs nothing.
void dense(const Problem& problem, const at::Tensor& x_NH) {
  const at::Tensor w1 = problem.w1_E2FH[0];
  const at::Tensor w2 = problem.w2_EHF[0];
  const at::Tensor gate_up = ops::product(x_NH, w1.t());
  const at::Tensor y_NH = ops::product(ops::swiglu_forward(gate_up), w2.t());
  const auto swiglu = ops::swiglu_backward(gate_up, ops::product(y_NH, w2), {});
  benchmark::DoNotOptimize(ops::product(y_NH.t(), swiglu.activation_NF).const_data_ptr());
  benchmark::DoNotOptimize(ops::product(swiglu.dgate_up_N2F.t(), x_NH).const_data_ptr());
  benchmark::DoNotOptimize(ops::product(swiglu.dgate_up_N2F, w1).const_data_ptr());
}

// ---------------------------------------------------------------- what is measured

struct Case {
  Work work;
  std::function<void()> run;
};

double num_rows(const Problem& problem) {
  return static_cast<double>(problem.routing().num_rows());
}
// Bytes of the states of `count` tokens or rows.
double state_bytes(const Problem& problem, double count) {
  return count * static_cast<double>(problem.x_TH.size(1) * problem.x_TH.element_size());
}

Case route(const Problem& problem) {
  const ops::Routing& routing = problem.routing();
  const auto num_logits = static_cast<double>(routing.num_tokens * routing.num_experts);
  return {{.bytes = 4.0 * num_logits + 16.0 * num_rows(problem)},
          [&] { benchmark::DoNotOptimize(problem.routed.again().sums.entropy_sum); }};
}

Case gather(const Problem& problem) {
  return {{.bytes = 2.0 * state_bytes(problem, num_rows(problem))},
          [&] { benchmark::DoNotOptimize(ops::row_gather(problem.x_TH, problem.routing())); }};
}
Case gather_torch(const Problem& problem) {
  return {
      {.bytes = 2.0 * state_bytes(problem, num_rows(problem))}, [&] {
        benchmark::DoNotOptimize(at::index_select(problem.x_TH, 0, problem.routing().row_token_N));
      }};
}

double combined_bytes(const Problem& problem) {
  return state_bytes(problem,
                     num_rows(problem) + static_cast<double>(problem.routing().num_tokens));
}
Case combine(const Problem& problem) {
  return {{.bytes = combined_bytes(problem)},
          [&, rows_NH = ops::row_gather(problem.x_TH, problem.routing())] {
            benchmark::DoNotOptimize(
                ops::row_gather_sum(rows_NH, problem.routing().row_weight_N, problem.routing()));
          }};
}
Case combine_torch(const Problem& problem) {
  const ops::Routing& routing = problem.routing();
  const at::Tensor rows_NH = ops::row_gather(problem.x_TH, routing);
  const at::Tensor weight_N =
      at::index_select(routing.row_weight_N, 0, routing.token_row_N).to(rows_NH.scalar_type());
  return {{.bytes = combined_bytes(problem)}, [&routing, rows_NH, weight_N] {
            benchmark::DoNotOptimize(at::embedding_bag(
                rows_NH, routing.token_row_N, routing.token_offset_T1,
                /*scale_grad_by_freq=*/false, /*mode=*/0, /*sparse=*/false, weight_N,
                /*include_last_offset=*/true));
          }};
}

at::Tensor random_gate_up(const Problem& problem) {
  return at::randn({problem.routing().num_rows(), problem.w1_E2FH.size(1)},
                   problem.x_TH.options().dtype(at::kFloat))
      .to(problem.x_TH.scalar_type());
}
Case swiglu_forward(const Problem& problem) {
  const at::Tensor gate_up_N2F = random_gate_up(problem);
  return {{.bytes = 1.5 * static_cast<double>(gate_up_N2F.nbytes())},
          [=] { benchmark::DoNotOptimize(ops::swiglu_forward(gate_up_N2F)); }};
}
Case swiglu_backward(const Problem& problem) {
  const at::Tensor gate_up_N2F = random_gate_up(problem);
  return {
      {.bytes = 3.0 * static_cast<double>(gate_up_N2F.nbytes())},
      [&, gate_up_N2F, d_NF = ops::swiglu_forward(gate_up_N2F)] {
        benchmark::DoNotOptimize(
            ops::swiglu_backward(gate_up_N2F, d_NF, problem.routing().row_weight_N).dgate_up_N2F);
      }};
}

Case layer_forward(const Problem& problem, const std::shared_ptr<ExpertCompute>& compute) {
  return {{.flops = problem.forward_flops()}, [&, compute] {
            benchmark::DoNotOptimize(
                compute->forward(problem.x_TH, problem.routing(), problem.w1_E2FH, problem.w2_EHF)
                    .y_TH);
          }};
}
Case layer_both_ways(const Problem& problem, const std::shared_ptr<ExpertCompute>& compute) {
  return {{.flops = 3.0 * problem.forward_flops()}, [&, compute] {
            const auto forward =
                compute->forward(problem.x_TH, problem.routing(), problem.w1_E2FH, problem.w2_EHF);
            benchmark::DoNotOptimize(compute
                                         ->backward(problem.dy_TH, problem.x_TH,
                                                    forward.gate_up_N2F, problem.routing(),
                                                    problem.w1_E2FH, problem.w2_EHF, problem.sink)
                                         .dx_TH);
          }};
}
Case layer_forward_torch(const Problem& problem) {
  return {{.flops = problem.forward_flops()},
          [layer = TorchLayer(problem)] { benchmark::DoNotOptimize(layer.forward()); }};
}
Case layer_both_ways_torch(const Problem& problem) {
  const auto layer = std::make_shared<TorchLayer>(problem);
  return {{.flops = 3.0 * problem.forward_flops()},
          [&, layer] { layer->forward_and_backward(problem.dy_TH); }};
}
Case layer_both_ways_dense(const Problem& problem) {
  return {{.flops = 3.0 * problem.forward_flops()},
          [&, x_NH = ops::row_gather(problem.x_TH, problem.routing())] { dense(problem, x_NH); }};
}

// ---------------------------------------------------------------- registration

using MakeCase = std::function<Case(const Problem&)>;

// The implementations of the experts that can run this shape.
std::map<std::string, std::shared_ptr<ExpertCompute>> implementations(
    const BenchmarkShape& shape, const BenchmarkOptions& options) {
  std::map<std::string, std::shared_ptr<ExpertCompute>> found;
  for (const std::string& name : expert_compute_names()) {
    try {
      found[name] = make_expert_compute(name, {.dtype = options.dtype,
                                               .device = options.device,
                                               .hidden_size = shape.hidden_size,
                                               .expert_size = shape.expert_size,
                                               .num_experts = shape.num_experts});
    } catch (const UsageError& error) {
      std::cerr << shape.name << ": " << error.what() << '\n';
    }
  }
  return found;
}

std::vector<std::pair<std::string, MakeCase>> cases(const BenchmarkShape& shape,
                                                    const BenchmarkOptions& options) {
  std::vector<std::pair<std::string, MakeCase>> all{
      {"route", route},
      {"gather", gather},
      {"gather:torch", gather_torch},
      {"combine", combine},
      {"combine:torch", combine_torch},
      {"swiglu_forward", swiglu_forward},
      {"swiglu_backward", swiglu_backward},
      {"layer_forward:torch", layer_forward_torch},
      {"layer_both_ways:torch", layer_both_ways_torch},
      {"layer_both_ways:dense", layer_both_ways_dense}};
  for (const auto& [name, compute] : implementations(shape, options)) {
    all.emplace_back("layer_forward:" + name, [compute = compute](const Problem& problem) {
      return layer_forward(problem, compute);
    });
    all.emplace_back("layer_both_ways:" + name, [compute = compute](const Problem& problem) {
      return layer_both_ways(problem, compute);
    });
  }
  return all;
}

// Rows of the fullest expert, over the mean.
double imbalance(const ops::Routing& routing) {
  const at::Tensor offset_E1 = routing.expert_offset_E1.to(at::kCPU);
  const auto* offset = offset_E1.const_data_ptr<std::int32_t>();
  std::int64_t largest = 0;
  for (std::int64_t e = 0; e < routing.num_experts; ++e) {
    largest = std::max<std::int64_t>(largest, offset[e + 1] - offset[e]);
  }
  return static_cast<double>(largest * routing.num_experts) /
         static_cast<double>(routing.num_rows());
}

void add_benchmarks(const BenchmarkOptions& options) {
  for (const BenchmarkShape& shape : options.shapes) {
    const auto all = cases(shape, options);
    for (const char* routing : kRoutings) {
      const auto problem = std::make_shared<std::unique_ptr<Problem>>();
      for (const auto& [what, make] : all) {
        const std::string name = what + "/" + shape.name + "/" + routing;
        ops::add_benchmark(name, [=, make = make](benchmark::State& state) {
          if (*problem == nullptr) *problem = std::make_unique<Problem>(shape, routing, options);
          const Case one = make(**problem);
          ops::measure(state, options.device, one.work, one.run);
          state.counters["k"] = num_rows(**problem) / static_cast<double>(shape.num_tokens);
          state.counters["imbalance"] = imbalance((*problem)->routing());
        });
      }
    }
  }
}

}  // namespace
}  // namespace switchyard::moe

int main(int argc, char** argv) {
  return switchyard::ops::run_benchmarks(argc, argv, switchyard::moe::add_benchmarks);
}
