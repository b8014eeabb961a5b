// The ops of a decoder that do not depend on how tokens are routed (moe_benchmark.cpp has those),
// forward and backward, beside LibTorch's own where it has the same.
//   kernel_benchmark [flags of op_benchmark.h]     names: WHAT/SHAPE
#include <ATen/ops/arange.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/rms_norm.h>
#include <ATen/ops/scaled_dot_product_attention.h>

#include <algorithm>
#include <utility>

#include "ops/op_benchmark.h"
#include "switchyard/ops/attention.h"
#include "switchyard/ops/attention_importance.h"
#include "switchyard/ops/dropout.h"
#include "switchyard/ops/linear_cross_entropy.h"
#include "switchyard/ops/one_thread.h"
#include "switchyard/ops/rms_norm.h"
#include "switchyard/ops/rope.h"

namespace switchyard::ops {
namespace {

using Run = std::function<void()>;
using Case = std::pair<Work, Run>;

// One shape's tensors: T tokens as sequences of at most 1024, heads of at most 64.
struct Problem {
  at::Tensor x_TH, dx_TH, weight_H, position_T;
  at::Tensor q_TAD, k_TAD, v_TAD, dout_TAD;
  at::Tensor head_VH, label_T;
  std::int64_t length = 0;
  AttentionOptions attention;

  Problem(const BenchmarkShape& shape, const BenchmarkOptions& options)
      : x_TH(leaf(options.random({shape.num_tokens, shape.hidden_size}))),
        dx_TH(options.random({shape.num_tokens, shape.hidden_size})),
        weight_H(options.random({shape.hidden_size}).to(at::kFloat).set_requires_grad(true)),
        position_T(at::arange(shape.num_tokens, options.tensor(at::kLong))),
        length(std::min<std::int64_t>(shape.num_tokens, 1024)) {
    const std::int64_t head_dim = std::min<std::int64_t>(shape.hidden_size, 64);
    const std::vector<std::int64_t> heads{shape.num_tokens, shape.hidden_size / head_dim, head_dim};
    q_TAD = leaf(options.random(heads));
    k_TAD = leaf(options.random(heads));
    v_TAD = leaf(options.random(heads));
    dout_TAD = options.random(heads);
    const std::int64_t vocab_size = 4 * shape.hidden_size;
    head_VH = leaf(options.random({vocab_size, shape.hidden_size}, 0.02));
    label_T = at::randint(vocab_size, {shape.num_tokens}, options.tensor(at::kLong));
    for (std::int64_t begin = 0; begin <= shape.num_tokens; begin += length) {
      attention.sequence_offset.push_back(begin);
    }
  }

  // All gradients of a call: the next one must not be added to them.
  void forget_gradients() {
    for (at::Tensor* input : {&x_TH, &weight_H, &q_TAD, &k_TAD, &v_TAD, &head_VH}) {
      input->mutable_grad().reset();
    }
  }

 private:
  static at::Tensor leaf(const at::Tensor& tensor) {
    return tensor.detach().set_requires_grad(true);
  }
};

double bytes(double count, const at::Tensor& of) {
  return count * static_cast<double>(of.nbytes());
}

// With gradients, which the program is without.
Run both_ways(Problem& problem, const std::function<at::Tensor()>& forward,
              const at::Tensor& grad) {
  return [&problem, forward, grad] {
    const at::AutoGradMode with_grad(true);
    forward().backward(grad);
    problem.forget_gradients();
  };
}

// Forward reads 1 and writes 1, backward reads 2 and writes 1 times x.
Case rms_norm_both_ways(Problem& p) {
  return {{.bytes = bytes(5, p.x_TH)},
          both_ways(
              p, [&] { return rms_norm(p.x_TH, p.weight_H, 1e-6); }, p.dx_TH)};
}
Case rms_norm_both_ways_torch(Problem& p) {
  return {{.bytes = bytes(5, p.x_TH)},
          both_ways(
              p,
              [&] {
                return at::rms_norm(p.x_TH, {p.x_TH.size(1)}, p.weight_H.to(p.x_TH.scalar_type()),
                                    1e-6);
              },
              p.dx_TH)};
}
Case rope_both_ways(Problem& p) {
  return {
      {.bytes = bytes(4, p.q_TAD)},
      both_ways(
          p, [&] { return rope(p.q_TAD, p.position_T, p.position_T.numel(), 1e4); }, p.dout_TAD)};
}
Case dropout_both_ways(Problem& p) {
  return {{.bytes = bytes(4, p.x_TH)},
          both_ways(
              p, [&] { return dropout(p.x_TH, p.position_T, 0.1, {}); }, p.dx_TH)};
}

// Of scores and values, the causal half; backward has two and a half times as much.
double attention_flops(const Problem& p) {
  return 2.0 * static_cast<double>(p.q_TAD.numel() * p.length);
}
Case attention_both_ways(Problem& p) {
  return {{.flops = 3.5 * attention_flops(p)},
          both_ways(
              p, [&] { return attention(p.q_TAD, p.k_TAD, p.v_TAD, p.attention).out_TAD; },
              p.dout_TAD)};
}
Case attention_both_ways_bidirectional(Problem& p) {
  AttentionOptions options = p.attention;
  options.causal = false;
  return {{.flops = 7.0 * attention_flops(p)},
          both_ways(
              p, [&p, options] { return attention(p.q_TAD, p.k_TAD, p.v_TAD, options).out_TAD; },
              p.dout_TAD)};
}
Case attention_both_ways_torch(Problem& p) {
  const auto batched = [&p](const at::Tensor& heads_TAD) {  // [B, A, S, D]
    return heads_TAD.view({-1, p.length, heads_TAD.size(1), heads_TAD.size(2)}).transpose(1, 2);
  };
  const auto forward = [&p, batched] {
    return at::scaled_dot_product_attention(batched(p.q_TAD), batched(p.k_TAD), batched(p.v_TAD),
                                            {}, 0.0, /*is_causal=*/true);
  };
  return {{.flops = 3.5 * attention_flops(p)}, both_ways(p, forward, batched(p.dout_TAD))};
}

// One product of queries and keys where attention has two. Those of columns are bidirectional, the
// others causal; compare with the attention that is.
Case importance(Problem& p, ImportanceMeasure measure) {
  AttentionOptions options = p.attention;
  options.causal =
      measure != ImportanceMeasure::received && measure != ImportanceMeasure::received_peak;
  const at::Tensor lse_AT = attention(p.q_TAD, p.k_TAD, p.v_TAD, options).lse_AT;
  return {
      {.flops = attention_flops(p) * (options.causal ? 0.5 : 1.0)}, [&p, lse_AT, options, measure] {
        benchmark::DoNotOptimize(attention_importance(p.q_TAD, p.k_TAD, lse_AT, options, measure));
      }};
}
Case attention_received(Problem& p) {
  return importance(p, ImportanceMeasure::received);
}
Case attention_received_peak(Problem& p) {
  return importance(p, ImportanceMeasure::received_peak);
}
Case attention_peak(Problem& p) {
  return importance(p, ImportanceMeasure::peak);
}
Case attention_entropy(Problem& p) {
  return importance(p, ImportanceMeasure::entropy);
}

double head_flops(const Problem& p) {
  return 6.0 * static_cast<double>(p.x_TH.size(0) * p.head_VH.numel());
}
Case cross_entropy_both_ways(Problem& p) {
  return {{.flops = head_flops(p)},
          both_ways(p, [&] { return linear_cross_entropy(p.x_TH, p.head_VH, p.label_T); }, {})};
}
Case cross_entropy_both_ways_torch(Problem& p) {
  const auto forward = [&p] {
    const at::Tensor logits_TV = at::matmul(p.x_TH, p.head_VH.t()).to(at::kFloat);
    return at::cross_entropy_loss(logits_TV, p.label_T);
  };
  return {{.flops = head_flops(p)}, both_ways(p, forward, {})};
}

// Of [rows, 32] with [32, 96]. From which size on do threads help? See is_small_product.
void add_small_products(const BenchmarkOptions& options) {
  if (!options.device.is_cpu()) return;
  for (const std::int64_t rows : {16, 32, 64, 128, 256, 512, 1024}) {
    for (const bool is_alone : {false, true}) {
      add_benchmark(
          std::string("small_product") + (is_alone ? ":one_thread/" : "/") + std::to_string(rows),
          [options, rows, is_alone](benchmark::State& state) {
            const at::Tensor a = options.random({rows, 32});
            const at::Tensor b = options.random({96, 32}).t();
            at::Tensor out = at::mm(a, b);
            const OneThread alone(is_alone);
            measure(state, options.device, {.flops = 2.0 * 32.0 * 96.0 * static_cast<double>(rows)},
                    [&] { at::mm_out(out, a, b); });
          });
    }
  }
}

void add_benchmarks(const BenchmarkOptions& options) {
  add_small_products(options);
  const std::vector<std::pair<const char*, Case (*)(Problem&)>> cases{
      {"rms_norm", rms_norm_both_ways},
      {"rms_norm:torch", rms_norm_both_ways_torch},
      {"rope", rope_both_ways},
      {"dropout", dropout_both_ways},
      {"attention", attention_both_ways},
      {"attention:torch", attention_both_ways_torch},
      {"attention_peak", attention_peak},
      {"attention_entropy", attention_entropy},
      {"attention:bidirectional", attention_both_ways_bidirectional},
      {"attention_received", attention_received},
      {"attention_received_peak", attention_received_peak},
      {"cross_entropy", cross_entropy_both_ways},
      {"cross_entropy:torch", cross_entropy_both_ways_torch}};
  for (const BenchmarkShape& shape : options.shapes) {
    const auto problem = std::make_shared<std::unique_ptr<Problem>>();
    for (const auto& [what, make] : cases) {
      add_benchmark(std::string(what) + "/" + shape.name,
                    [=, make = make](benchmark::State& state) {
                      if (*problem == nullptr) *problem = std::make_unique<Problem>(shape, options);
                      const auto [work, run] = make(**problem);
                      measure(state, options.device, work, run);
                    });
    }
  }
}

}  // namespace
}  // namespace switchyard::ops

int main(int argc, char** argv) {
  return switchyard::ops::run_benchmarks(argc, argv, switchyard::ops::add_benchmarks);
}
