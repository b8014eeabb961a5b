// The number of threads changes no bit: every reduction is over fixed blocks.
#include <ATen/Parallel.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/remainder.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "support/tensors.h"
#include "switchyard/core/parallel.h"
#include "switchyard/ops/attention.h"
#include "switchyard/ops/attention_importance.h"
#include "switchyard/ops/backend.h"
#include "switchyard/ops/dropout.h"
#include "switchyard/ops/embedding.h"
#include "switchyard/ops/linear.h"
#include "switchyard/ops/linear_cross_entropy.h"
#include "switchyard/ops/rms_norm.h"
#include "switchyard/ops/rope.h"

namespace switchyard::ops {
namespace {

using testing::random_normal;
using testing::with_grad;

constexpr std::int64_t kTokens = 1000;

// Results and gradients of every op of a decoder block, fp32.
std::vector<at::Tensor> results() {
  const at::Tensor q = with_grad(random_normal({kTokens, 4, 20}, 1, at::kFloat));
  const at::Tensor k = with_grad(random_normal({kTokens, 2, 20}, 2, at::kFloat));
  const at::Tensor weight = with_grad(random_normal({20}, 3, at::kFloat));
  const at::Tensor position = at::arange(kTokens, at::kLong);
  const AttentionOptions options{.sequence_offset = {0, 700, kTokens}};
  const at::Tensor q_turned = rope(rms_norm(q, weight, 1e-6), position, position.numel(), 10000.0);
  const AttentionOutput attended = attention(q_turned, k, k, options);
  const at::Tensor flat = attended.out_TAD.flatten(1);
  const at::Tensor dropped = dropout(flat, position, 0.1, {.seed = 1});
  const at::Tensor table = with_grad(random_normal({50, 80}, 4, at::kFloat));
  const at::Tensor looked_up = ops::embedding(at::remainder(position, 50), table);
  // Products of blocks of rows, whose gradients have as many rows as the matrix.
  const at::Tensor columns = dropped.narrow(1, 0, 20);
  const at::Tensor matrix = with_grad(random_normal({140, 20}, 5, at::kFloat));
  const at::Tensor bias = with_grad(random_normal({140}, 6, at::kFloat));
  const at::Tensor projected = ops::linear(columns, matrix, bias);
  const at::Tensor loss =
      linear_cross_entropy(columns, matrix, at::remainder(position, 140), {.chunk_tokens = 1000});
  ((dropped * looked_up).sum() + projected.square().sum() + loss).backward();
  const AttentionOptions both_ways{.sequence_offset = {0, 700, kTokens}, .causal = false};
  return {dropped.detach(),
          q.grad(),
          k.grad(),
          weight.grad(),
          table.grad(),
          projected.detach(),
          matrix.grad(),
          bias.grad(),
          loss.detach(),
          attention_importance(q, k, attended.lse_AT, options, ImportanceMeasure::entropy),
          attention_importance(q, k, attention(q, k, k, both_ways).lse_AT, both_ways,
                               ImportanceMeasure::received)};
}

TEST(ThreadCount, ChangesNoBit) {
  set_parallel_backend(nullptr);
  const std::vector<at::Tensor> serial = results();
  const int num_threads = at::get_num_threads();
  for (const int threads : {1, 3}) {
    at::set_num_threads(threads);
    for (const Blocks blocks : {Blocks::on_all_threads, Blocks::on_the_calling_thread}) {
      install_parallel_backend(blocks);
      const std::vector<at::Tensor> parallel = results();
      for (std::size_t i = 0; i < serial.size(); ++i) {
        EXPECT_TRUE(at::equal(serial[i], parallel[i])) << "result " << i << ", threads " << threads;
      }
    }
  }
  at::set_num_threads(num_threads);
  set_parallel_backend(nullptr);
}

}  // namespace
}  // namespace switchyard::ops
