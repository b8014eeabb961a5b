// What the exchange of rows costs: an MoE layer, forward and backward, on one rank and on ranks
// that hold parts of its experts, in processor time per rank (ranks are threads of this process,
// and take turns where cores are few).
//   exchange_benchmark [TOKENS [RANKS [ROUNDS]]]       default: 4096 4 15
// The two alternate; the last line has the median of their ratio. OMP_NUM_THREADS=1 keeps other
// threads out of it.
#include <ATen/Parallel.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <iostream>
#include <memory>
#include <vector>

#include "switchyard/comm/self.h"
#include "switchyard/comm/threads.h"
#include "switchyard/config/router_config.h"
#include "switchyard/config/routers/top_k.h"
#include "switchyard/core/error.h"
#include "switchyard/moe/moe_layer.h"
#include "switchyard/parallel/expert_parallel.h"

namespace switchyard::parallel {
namespace {

// The quickstart's layer, with a number of experts per token that does not change.
constexpr std::int64_t kHidden = 192;
constexpr std::int64_t kExperts = 8;

struct Layer {
  Layer(RankGroups& groups, std::int64_t num_tokens) {
    config::MoeConfig config;
    config.num_experts = kExperts;
    config.expert_size = 192;
    const config::RouterConfig router(config::TopKOptions{.k = 2});
    layer = std::make_unique<moe::MoeLayer>(
        config, router,
        moe::MoeBuild{.name = "layer",
                      .hidden_size = kHidden,
                      .sequence_length = num_tokens,
                      .precision = {.compute = at::kFloat},
                      .placement = expert_placement(groups, kExperts)});
    for (ops::Parameter* parameter : layer->parameters()) {
      ops::initialize(*parameter, 1);
      ops::zero_grad(*parameter);
    }
    x_TH = at::randn({num_tokens, kHidden}).requires_grad_();
    dy_TH = at::randn({num_tokens, kHidden});
    offset_B1 = at::tensor({0, static_cast<std::int32_t>(num_tokens)}, at::kInt);
  }

  void run() {
    x_TH.mutable_grad().reset();
    layer
        ->forward({.x_TH = x_TH,
                   .importance_T = {},
                   .valid_T = {},
                   .sequence_offset_B1 = offset_B1,
                   .training = true,
                   .cached_keys_B = {}})
        .y_TH.backward(dy_TH);
  }

  std::unique_ptr<moe::MoeLayer> layer;
  at::Tensor x_TH;
  at::Tensor dy_TH;
  at::Tensor offset_B1;
};

double processor_seconds() {
  timespec time{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

// Of all ranks, divided by their number; the first of `rounds` warms up.
std::vector<double> seconds_on_ranks(std::int64_t num_ranks, std::int64_t expert,
                                     std::int64_t num_tokens, int rounds) {
  std::vector<double> seconds;
  comm::run_ranks(num_ranks, [&](comm::Communicator& world) {
    RankGroups groups(world, expert);
    Layer layer(groups, num_tokens);
    for (int round = 0; round <= rounds; ++round) {
      world.barrier("begin");
      const double start = processor_seconds();
      world.barrier("begun");
      layer.run();
      world.barrier("end");
      if (world.rank() == 0 && round > 0) {
        seconds.push_back((processor_seconds() - start) / static_cast<double>(num_ranks));
      }
    }
  });
  return seconds;
}

std::int64_t argument(int argc, char** argv, int idx, std::int64_t otherwise) {
  return idx < argc ? std::atoll(argv[idx]) : otherwise;
}

void measure(std::int64_t num_tokens, std::int64_t num_ranks, int rounds) {
  at::set_num_threads(1);
  std::vector<double> ratios;
  for (int i = 0; i < rounds; ++i) {
    constexpr int kAtATime = 3;
    const auto best = [](std::vector<double> seconds) {
      return *std::min_element(seconds.begin(), seconds.end());
    };
    const double alone = best(seconds_on_ranks(num_ranks, 1, num_tokens, kAtATime));
    const double shared = best(seconds_on_ranks(num_ranks, num_ranks, num_tokens, kAtATime));
    ratios.push_back(shared / alone);
    std::cout << fmt::format("all experts on each of {} ranks {:.2f} ms, shared out {:.2f} ms\n",
                             num_ranks, 1e3 * alone, 1e3 * shared);
  }
  std::sort(ratios.begin(), ratios.end());
  std::cout << fmt::format(
      "{} tokens a rank, {} ranks: {:.3f} times the time without an exchange ({:.3f} to "
      "{:.3f})\n",
      num_tokens, num_ranks, ratios[ratios.size() / 2], ratios.front(), ratios.back());
}

}  // namespace
}  // namespace switchyard::parallel

int main(int argc, char** argv) {
  using switchyard::parallel::argument;
  switchyard::parallel::measure(argument(argc, argv, 1, 4096), argument(argc, argv, 2, 4),
                                static_cast<int>(argument(argc, argv, 3, 15)));
  return 0;
}
