// Forward and backward of the quickstart's model on one micro-batch of 8 x 256 tokens, untrained
// (top_p then gives each token about three experts; training brings it toward one).
#include <ATen/Parallel.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>

#include "switchyard/model/decoder.h"
#include "switchyard/ops/backend.h"

namespace switchyard::model {
namespace {

constexpr std::int64_t kSequences = 8;
constexpr std::int64_t kLength = 256;
constexpr std::int64_t kTokens = kSequences * kLength;

config::ModelConfig quickstart() {
  config::ModelConfig config;
  config.vocab_size = 2048;
  config.hidden_size = 192;
  config.num_layers = 4;
  config.num_heads = 6;
  config.num_kv_heads = 6;
  config.head_dim = 32;
  config.ffn_size = 512;
  config.moe.num_experts = 8;
  config.moe.expert_size = 192;
  config.moe.layers = {1, 3};
  return config;
}

Batch random_batch(std::int64_t vocab_size) {
  Batch batch;
  for (std::int64_t b = 0; b <= kSequences; ++b) batch.sequence_offset.push_back(b * kLength);
  batch.token_idx_T = at::arange(kTokens, at::kLong);
  batch.token_T = at::randint(vocab_size, {kTokens}, at::kLong);
  batch.label_T = at::randint(vocab_size, {kTokens}, at::kLong);
  batch.position_T = at::arange(kLength, at::kLong).repeat({kSequences});
  batch.sequence_offset_B1 = at::arange(0, kTokens + 1, kLength, at::kInt);
  return batch;
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Operations per second of one large product of the same type: the bound of this run.
double peak_flops(at::ScalarType dtype) {
  constexpr std::int64_t kSize = 1024;
  const at::Tensor a = at::randn({kSize, kSize}).to(dtype);
  double best = 1e9;
  for (int i = 0; i < 5; ++i) {
    const auto start = std::chrono::steady_clock::now();
    benchmark::DoNotOptimize(at::mm(a, a));
    best = std::min(best, seconds_since(start));
  }
  return 2.0 * kSize * kSize * kSize / best;
}

void decoder_step(benchmark::State& state, at::ScalarType dtype) {
  ops::install_parallel_backend();
  const config::ModelConfig config = quickstart();
  Decoder decoder(config, kLength, {.compute = dtype});
  decoder.initialize(1);
  const Batch batch = random_batch(config.vocab_size);
  std::int64_t num_rows = 0;
  double elapsed = 0.0;
  for (auto _ : state) {
    const auto start = std::chrono::steady_clock::now();
    for (ops::Parameter* parameter : decoder.parameters()) ops::zero_grad(*parameter);
    const DecoderOutput out = decoder.forward(batch, {.training = true});
    decoder.loss_sum(out.hidden_TH, batch.label_T).backward();
    for (ops::Parameter* parameter : decoder.parameters()) ops::collect_grad(*parameter);
    elapsed += seconds_since(start);
    for (const LayerRoute& route : out.routes) num_rows += route.routing.num_rows();
  }
  const auto tokens = static_cast<double>(state.iterations() * kTokens);
  const double k = static_cast<double>(num_rows) / (2.0 * tokens);
  state.counters["tokens_per_second"] = tokens / elapsed;
  state.counters["experts_per_token"] = k;
  // Of the matrix products alone, attention's left out.
  state.counters["share_of_peak"] =
      6.0 * count_parameters(config).activated(k) * tokens / elapsed / peak_flops(dtype);
}

BENCHMARK_CAPTURE(decoder_step, fp32, at::kFloat)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK_CAPTURE(decoder_step, bf16, at::kBFloat16)->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace
}  // namespace switchyard::model
