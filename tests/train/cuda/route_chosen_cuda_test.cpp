// A route of any choice of experts on a GPU against the CPU.
#include "switchyard/ops/route_chosen.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/remainder.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "switchyard/ops/device.h"
#include "train/cuda/gpu.h"

namespace switchyard::train {
namespace {

struct Routed {
  ops::RouteOutput out;
  at::Tensor grad_TE;  // of the logits
};

// 300 tokens in sequences of 100, 0 and 200; token t takes every (1 + t mod 7)-th of 9 experts,
// every eighth token none.
Routed routed_on(const std::string& device_name) {
  const at::Device device = ops::device_of(device_name);
  const at::Tensor index_TE = at::arange(300 * 9, at::kLong).view({300, 9});
  const at::Tensor token_T1 = at::arange(300, at::kLong).unsqueeze(1);
  const at::Tensor expert_E = at::arange(9, at::kLong);
  at::Tensor chosen_TE = at::remainder(expert_E, token_T1.remainder(7).add(1)).eq(0);
  chosen_TE = chosen_TE.logical_and(token_T1.remainder(8).ne(7)).to(device);
  const at::Tensor logits_TE =
      index_TE.to(at::kDouble).mul(1.3).sin().to(at::kFloat).to(device).requires_grad_();
  const at::Tensor offsets = at::tensor(std::vector<int>{0, 100, 100, 300}, at::kInt).to(device);
  Routed routed{
      .out = ops::route_chosen(
          {.weight_TE = at::softmax(logits_TE, 1), .chosen_TE = chosen_TE, .logits_TE = logits_TE},
          {}, offsets),
      .grad_TE = {}};
  const at::Tensor& weight_N = routed.out.routing.row_weight_N;
  weight_N.mul(at::arange(weight_N.size(0), weight_N.options()).sin())
      .sum()
      .add(routed.out.sums.prob_sum_BE.select(1, 0).sum())
      .add(routed.out.sums.entropy_sum, 0.1)
      .add(routed.out.sums.z_sum, 0.01)
      .backward();
  routed.grad_TE = logits_TE.grad();
  return routed;
}

using RouteChosenOnGpu = OnGpu<>;

TEST_F(RouteChosenOnGpu, RoutesAndDifferentiatesAsTheCpuDoes) {
  const Routed cpu = routed_on("cpu");
  const Routed gpu = routed_on(test_device());
  const auto same = [](const at::Tensor& a, const at::Tensor& b) { return a.cpu().equal(b); };
  EXPECT_TRUE(same(gpu.out.routing.expert_offset_E1, cpu.out.routing.expert_offset_E1));
  EXPECT_TRUE(same(gpu.out.routing.row_token_N, cpu.out.routing.row_token_N));
  EXPECT_TRUE(same(gpu.out.routing.token_row_N, cpu.out.routing.token_row_N));
  EXPECT_TRUE(same(gpu.out.sums.count_BE, cpu.out.sums.count_BE));
  EXPECT_TRUE(same(gpu.out.sums.k_histogram_E1, cpu.out.sums.k_histogram_E1));
  const auto distance = [](const at::Tensor& a, const at::Tensor& b) {
    return a.detach().cpu().sub(b.detach()).norm().div(b.detach().norm()).item<double>();
  };
  EXPECT_LT(distance(gpu.out.routing.row_weight_N, cpu.out.routing.row_weight_N), 1e-5);
  EXPECT_LT(distance(gpu.out.sums.prob_sum_BE, cpu.out.sums.prob_sum_BE), 1e-5);
  EXPECT_LT(distance(gpu.grad_TE, cpu.grad_TE), 1e-5);
  EXPECT_GT(cpu.grad_TE.norm().item<double>(), 1.0);
}

TEST_F(RouteChosenOnGpu, GivesTheSameBitsEveryTime) {
  ops::make_deterministic();
  const Routed first = routed_on(test_device());
  for (int repeat = 0; repeat < 3; ++repeat) {
    EXPECT_TRUE(routed_on(test_device()).grad_TE.equal(first.grad_TE));
  }
}

}  // namespace
}  // namespace switchyard::train
