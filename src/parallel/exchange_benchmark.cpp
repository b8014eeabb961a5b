// What the exchange of rows costs: an MoE layer, forward and backward, on one rank and on ranks
// that hold parts of its experts, in processor time per rank (ranks are threads of this process,
// and take turns where cores are few).
//   exchange_benchmark [TOKENS [RANKS [ROUNDS]]]       default: 4096 4 15
// The two alternate; the last line has the median of their ratio. OMP_NUM_THREADS=1 keeps other
// threads out of it. Memory that ranks give back stays with the process, as it does where each is a
// process (a run on four has 600 page faults a step and rank): glibc gives what threads free back
// to the system, and page faults then are half of what an exchange seems to cost.
//   exchange_benchmark alone|shared [TOKENS [RANKS [ROUNDS]]]
// ROUNDS passes of one kind and nothing else, whose instructions a profiler can count, which other
// programs do not disturb: the difference between two numbers of rounds.
//   exchange_benchmark slow [TOKENS [RANKS [ROUNDS]]]  default: 4096 2 9
// How much of the time on slow links is hidden behind the experts: rows are held up in proportion
// to their bytes, in all for half as long as the layer computes, and travel in 1, 2 and 4 chunks;
// wall time, of which every rank needs a core.
#include <ATen/Parallel.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <fmt/format.h>
#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <iostream>
#include <memory>
#include <string_view>
#include <thread>
#include <vector>

#include "switchyard/comm/beside.h"
#include "switchyard/comm/forwarding.h"
#include "switchyard/comm/self.h"
#include "switchyard/comm/threads.h"
#include "switchyard/config/router_config.h"
#include "switchyard/config/routers/top_k.h"
#include "switchyard/core/error.h"
#include "switchyard/core/timing.h"
#include "switchyard/moe/moe_layer.h"
#include "switchyard/parallel/expert_parallel.h"

namespace switchyard::parallel {
namespace {

// The quickstart's layer, with a number of experts per token that does not change.
constexpr std::int64_t kHidden = 192;
constexpr std::int64_t kExperts = 8;

struct Layer {
  Layer(RankGroups& groups, std::int64_t num_tokens, std::int64_t num_chunks = 1) {
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
                      .placement = expert_placement(groups, kExperts, num_chunks)});
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

// Links on which a byte takes `seconds_per_byte`, there and here, while the rank may compute.
class SlowRanks final : public comm::Forwarding {
 public:
  SlowRanks(std::unique_ptr<comm::Communicator> ranks, double seconds_per_byte)
      : Forwarding(std::move(ranks)), seconds_per_byte_(seconds_per_byte) {}

  void all_to_all(const at::Tensor& send, const comm::RankRows& send_rows, at::Tensor& receive,
                  const comm::RankRows& receive_rows, std::string_view name) override {
    const auto bytes = static_cast<double>(comm::bytes_of_rows(send, send_rows) +
                                           comm::bytes_of_rows(receive, receive_rows));
    std::this_thread::sleep_for(std::chrono::duration<double>(bytes * seconds_per_byte_));
    Forwarding::all_to_all(send, send_rows, receive, receive_rows, name);
  }
  [[nodiscard]] std::unique_ptr<comm::Communicator> split(std::int64_t group,
                                                          std::string_view name) override {
    return std::make_unique<SlowRanks>(ranks().split(group, name), seconds_per_byte_);
  }

 private:
  double seconds_per_byte_;
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Wall time of a pass.
double seconds_on_slow_links(std::int64_t num_ranks, std::int64_t num_tokens, int rounds,
                             std::int64_t num_chunks, double seconds_per_byte) {
  std::vector<double> seconds;
  comm::run_ranks(num_ranks, [&](comm::Communicator& ranks) {
    SlowRanks slow(ranks.split(0, "slow"), seconds_per_byte);
    const std::unique_ptr<comm::Communicator> world = comm::beside(slow);
    RankGroups groups(*world, num_ranks);
    Layer layer(groups, num_tokens, num_chunks);
    for (int round = 0; round <= rounds; ++round) {
      world->barrier("begin");
      const auto start = std::chrono::steady_clock::now();
      layer.run();
      world->barrier("end");
      if (world->rank() == 0 && round > 0) seconds.push_back(seconds_since(start));
    }
  });
  return median(seconds);
}

void measure_slow_links(std::int64_t num_tokens, std::int64_t num_ranks, int rounds) {
  at::set_num_threads(1);
  const double fast = seconds_on_slow_links(num_ranks, num_tokens, rounds, 1, 0.0);
  // Of k = 2 rows a token: to the experts and back, forward and backward, sent and received.
  const double bytes = 4.0 * 2.0 * 2.0 * static_cast<double>(num_tokens * kHidden) * sizeof(float);
  const double seconds_per_byte = 0.5 * fast / bytes;
  std::cout << fmt::format("{} tokens a rank, {} ranks, {:.2f} ms without waiting\n", num_tokens,
                           num_ranks, 1e3 * fast);
  double in_one = 0.0;
  for (const std::int64_t num_chunks : {1, 2, 4}) {
    if (kExperts / num_ranks % num_chunks != 0) continue;
    const double alone = seconds_on_slow_links(num_ranks, num_tokens, rounds, num_chunks, 0.0);
    const double slow =
        seconds_on_slow_links(num_ranks, num_tokens, rounds, num_chunks, seconds_per_byte);
    if (num_chunks == 1) in_one = slow - alone;
    std::cout << fmt::format(
        "{} chunks: {:.2f} ms, on slow links {:.2f} ms; hidden {:.0f} % of the {:.2f} ms that one "
        "chunk waits\n",
        num_chunks, 1e3 * alone, 1e3 * slow, 100.0 * (1.0 - (slow - alone) / in_one), 1e3 * in_one);
  }
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
  constexpr int kNever = 1 << 30;
  ::mallopt(M_ARENA_MAX, 1);
  ::mallopt(M_TRIM_THRESHOLD, kNever);
  ::mallopt(M_MMAP_MAX, 0);
  if (argc > 1 && std::string_view(argv[1]) == "slow") {
    switchyard::parallel::measure_slow_links(argument(argc, argv, 2, 4096),
                                             argument(argc, argv, 3, 2),
                                             static_cast<int>(argument(argc, argv, 4, 9)));
    return 0;
  }
  if (argc > 1 && (std::string_view(argv[1]) == "alone" || std::string_view(argv[1]) == "shared")) {
    at::set_num_threads(1);
    const std::int64_t num_ranks = argument(argc, argv, 3, 4);
    (void)switchyard::parallel::seconds_on_ranks(
        num_ranks, std::string_view(argv[1]) == "alone" ? 1 : num_ranks,
        argument(argc, argv, 2, 4096), static_cast<int>(argument(argc, argv, 4, 1)));
    return 0;
  }
  switchyard::parallel::measure(argument(argc, argv, 1, 4096), argument(argc, argv, 2, 4),
                                static_cast<int>(argument(argc, argv, 3, 15)));
  return 0;
}
