// Routings that load the experts in different ways, for benchmarks.
#pragma once

#include <ATen/ops/arange.h>
#include <ATen/ops/cumsum.h>
#include <ATen/ops/full.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/randperm.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <string>

#include "ops/op_benchmark.h"
#include "switchyard/ops/routing.h"
#include "switchyard/ops/top_k_route.h"
#include "switchyard/ops/top_p_route.h"

namespace switchyard::moe {

// k_T with this mean: whole numbers next to it, in random order.
inline at::Tensor counts_with_mean(const ops::BenchmarkShape& shape,
                                   const at::TensorOptions& options) {
  const double whole = std::floor(shape.k);
  return at::rand({shape.num_tokens}, options)
      .lt(shape.k - whole)
      .to(at::kInt)
      .add(static_cast<std::int64_t>(whole));
}

// Each token's experts follow those of the token before it: the load of all is equal.
inline at::Tensor cycling_logits(const at::Tensor& k_T, std::int64_t num_experts) {
  const at::Tensor first_T = at::cumsum(k_T, 0).sub(k_T);
  const at::Tensor place_TE =
      at::arange(num_experts, k_T.options()).unsqueeze(0).sub(first_T.unsqueeze(1));
  return place_TE.remainder(num_experts).neg().to(at::kFloat).contiguous();
}

// Experts drawn without replacement, by weights 1, 1/2, 1/3, ...; two experts get nothing.
inline at::Tensor zipf_logits(const ops::BenchmarkShape& shape, const at::TensorOptions& options) {
  at::Tensor log_weight_E = at::randperm(shape.num_experts, options).add(1.0).log().neg();
  log_weight_E.narrow(0, shape.num_experts / 2, 2).fill_(-1e4);
  const at::Tensor gumbel_TE = at::rand({shape.num_tokens, shape.num_experts}, options)
                                   .clamp_min(1e-7)
                                   .log()
                                   .neg()
                                   .log()
                                   .neg();
  return gumbel_TE.add(log_weight_E).contiguous();
}

struct Routed {
  ops::Routing routing;
  std::function<ops::RouteOutput()> again;  // the router's kernels alone
};

class Routings {
 public:
  Routings(const ops::BenchmarkShape& shape, const ops::BenchmarkOptions& options)
      : shape_(shape), float_(options.tensor(at::kFloat)) {
    offset_B1_ = at::tensor({0, static_cast<int>(shape.num_tokens)}, at::kInt).to(options.device);
  }

  [[nodiscard]] Routed make(const std::string& name) const {
    if (name == "top_p") return top_p();
    const at::Tensor random_TE = at::randn({shape_.num_tokens, shape_.num_experts}, float_);
    if (name == "k2")
      return top_k(random_TE, at::full({shape_.num_tokens}, 2, float_).to(at::kInt));
    if (name == "mixed") {  // half of the tokens take one expert, half take four
      const at::Tensor k_T = at::arange(shape_.num_tokens, float_).remainder(2).mul(3).add(1);
      return top_k(random_TE, k_T.to(at::kInt));
    }
    const at::Tensor k_T = counts_with_mean(shape_, float_);
    if (name == "random") return top_k(random_TE, k_T);
    if (name == "zipf") return top_k(zipf_logits(shape_, float_), k_T);
    return top_k(cycling_logits(k_T, shape_.num_experts), k_T);
  }

 private:
  [[nodiscard]] Routed top_k(const at::Tensor& logits_TE, const at::Tensor& k_T) const {
    return routed([=, offset_B1 = offset_B1_] {
      return ops::top_k_route(logits_TE, {}, offset_B1, {.k = 2, .k_T = k_T});
    });
  }

  // The threshold at which tokens get the shape's mean, none more than eight experts or twice it.
  [[nodiscard]] Routed top_p() const {
    const at::Tensor logits_TE =
        at::randn({shape_.num_tokens, shape_.num_experts}, float_).mul(2.0);
    ops::TopPOptions options{
        .max_experts = std::min<std::int64_t>(
            shape_.num_experts, std::max<std::int64_t>(8, std::llround(2.0 * shape_.k)))};
    double low = 0.0;
    double high = 1.0;
    for (int step = 0; step < 20; ++step) {
      options.p = (low + high) / 2.0;
      const std::int64_t num_rows =
          ops::top_p_route(logits_TE, {}, offset_B1_, options).routing.num_rows();
      const bool too_many =
          static_cast<double>(num_rows) > shape_.k * static_cast<double>(shape_.num_tokens);
      (too_many ? high : low) = options.p;
    }
    return routed([=, offset_B1 = offset_B1_] {
      return ops::top_p_route(logits_TE, {}, offset_B1, options);
    });
  }

  [[nodiscard]] static Routed routed(const std::function<ops::RouteOutput()>& again) {
    return {again().routing, again};
  }

  ops::BenchmarkShape shape_;
  at::TensorOptions float_;
  at::Tensor offset_B1_;
};

// `random` and `k2` differ in nothing but the mean: time should too.
inline constexpr const char* kRoutings[] = {"balanced", "random", "top_p", "zipf", "mixed", "k2"};

}  // namespace switchyard::moe
