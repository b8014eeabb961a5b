#include "switchyard/doctor/links.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <string>

#include "switchyard/core/text.h"
#include "switchyard/core/timing.h"

namespace switchyard::doctor {
namespace {

constexpr std::int64_t kLargeBytes = std::int64_t{8} << 20;
constexpr std::int64_t kSmallBytes = 64;
constexpr std::int64_t kReduceBytes = std::int64_t{32} << 20;
constexpr int kRounds = 5;
constexpr double kMuchSlower = 3.0;

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Of `run`, until its `result` can be read on the host; all ranks begin together.
template <typename Run>
double seconds_of(comm::Communicator& world, const at::Tensor& result, const Run& run) {
  std::vector<double> seconds;
  for (int round = 0; round <= kRounds; ++round) {
    world.barrier("links");
    const auto start = std::chrono::steady_clock::now();
    run();
    (void)result.narrow(0, 0, 1).cpu();
    if (round > 0) seconds.push_back(seconds_since(start));  // the first connects
  }
  return median(seconds);
}

// Every rank sends so many bytes to the rank `distance` behind it.
double seconds_to(comm::Communicator& world, std::int64_t distance, std::int64_t bytes,
                  c10::Device device) {
  const auto options = at::TensorOptions().dtype(at::kByte).device(device);
  const at::Tensor send = at::zeros({bytes}, options);
  at::Tensor receive = at::empty({bytes}, options);
  const std::int64_t num_ranks = world.size();
  std::vector<std::int64_t> to(static_cast<std::size_t>(num_ranks));
  std::vector<std::int64_t> from = to;
  to[static_cast<std::size_t>((world.rank() + distance) % num_ranks)] = bytes;
  from[static_cast<std::size_t>((world.rank() + num_ranks - distance) % num_ranks)] = bytes;
  return seconds_of(world, receive,
                    [&] { world.all_to_all(send, to, receive, from, "link between two ranks"); });
}

std::string speed(double bytes_per_second) {
  return fmt::format("{:.2f} GB/s", bytes_per_second / 1e9);
}

}  // namespace

LinkFacts measure_links(comm::Communicator& world, c10::Device device) {
  LinkFacts facts{.num_ranks = world.size(), .links = {}};
  if (world.size() == 1) return facts;
  std::vector<std::int64_t> distances;
  for (std::int64_t distance = 1; distance < world.size(); distance *= 2) {
    distances.push_back(distance);
  }
  const auto count = static_cast<std::int64_t>(distances.size());
  const at::Tensor own = at::zeros({2 * count}, at::kDouble);
  double* const seconds = own.mutable_data_ptr<double>();
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t distance = distances[static_cast<std::size_t>(i)];
    seconds[2 * i] = seconds_to(world, distance, kLargeBytes, device);
    seconds[2 * i + 1] = seconds_to(world, distance, kSmallBytes, device);
  }
  at::Tensor sum = at::zeros({kReduceBytes / 4}, at::TensorOptions(device).dtype(at::kFloat));
  at::Tensor slowest = at::zeros({world.size()}, at::kDouble);
  slowest.mutable_data_ptr<double>()[world.rank()] =
      seconds_of(world, sum, [&] { world.all_reduce_sum(sum, "sum over all ranks"); });
  world.all_reduce_sum(slowest, "times of the sum");
  facts.reduce_bytes_per_second = static_cast<double>(kReduceBytes) / slowest.max().item<double>();
  at::Tensor all = at::empty({world.size() * own.numel()}, at::kDouble);
  world.all_gather(own, all, "times of links");
  const double* const of_rank = all.const_data_ptr<double>();
  const auto time_of = [&](std::int64_t rank, std::int64_t i) {
    return of_rank[rank * own.numel() + i];
  };
  for (std::int64_t rank = 0; rank < world.size(); ++rank) {
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t to = (rank + distances[static_cast<std::size_t>(i)]) % world.size();
      // Each has taken as long as the slower of what it sent and what it received: the link between
      // the two is no slower than the faster of them.
      const double large = std::min(time_of(rank, 2 * i), time_of(to, 2 * i));
      const double small = std::min(time_of(rank, 2 * i + 1), time_of(to, 2 * i + 1));
      facts.links.push_back({.from = rank,
                             .to = to,
                             .bytes_per_second = static_cast<double>(kLargeBytes) / large,
                             .seconds = small});
    }
  }
  return facts;
}

DoctorLine check_links(const LinkFacts& facts) {
  DoctorLine line{.topic = "links"};
  if (facts.links.empty()) {
    line.verdict = Verdict::kNote;
    line.finding = "one rank: there are none";
    line.advice = "start several: switchyard launch --nproc 4 -- doctor --links";
    return line;
  }
  std::vector<double> speeds;
  std::vector<double> seconds;
  for (const LinkFacts::Link& link : facts.links) {
    speeds.push_back(link.bytes_per_second);
    seconds.push_back(link.seconds);
  }
  const auto slowest = std::min_element(
      facts.links.begin(), facts.links.end(),
      [](const auto& a, const auto& b) { return a.bytes_per_second < b.bytes_per_second; });
  line.finding =
      fmt::format("{}: between two {} (slowest {} to {}: {}), {:.0f} us; sum over all {}",
                  counted(facts.num_ranks, "rank"), speed(median(speeds)), slowest->from,
                  slowest->to, speed(slowest->bytes_per_second), 1e6 * median(seconds),
                  speed(facts.reduce_bytes_per_second));
  if (slowest->bytes_per_second * kMuchSlower < median(speeds)) {
    line.verdict = Verdict::kWarning;
    line.advice = fmt::format(
        "every exchange waits for the slowest: look at ranks {} and {}, or keep what is between "
        "them out of an expert group (parallel.expert)",
        slowest->from, slowest->to);
  }
  return line;
}

}  // namespace switchyard::doctor
