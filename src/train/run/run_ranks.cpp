#include "train/run/run_ranks.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>

#include <algorithm>
#include <utility>

#include "switchyard/comm/watched.h"

namespace switchyard::train {
namespace {

at::Tensor tensor_of(std::int64_t number) {
  return at::full({1}, number, at::kLong);
}

std::int64_t number_in(const at::Tensor& tensor) {
  return *tensor.const_data_ptr<std::int64_t>();
}

}  // namespace

bool RunRanks::any(bool here, std::string_view name) {
  return sum(here ? 1 : 0, name) > 0;
}

std::int64_t RunRanks::sum(std::int64_t here, std::string_view name) {
  if (count() == 1) return here;
  at::Tensor number = tensor_of(here);
  world_.all_reduce_sum(number, name);
  return number_in(number);
}

std::int64_t RunRanks::of_leader(std::int64_t number, std::string_view name) {
  if (count() == 1) return number;
  at::Tensor leaders = tensor_of(number);
  world_.broadcast(leaders, 0, name);
  return number_in(leaders);
}

void RunRanks::add_traffic(telemetry::StepRecord& record) {
  const comm::Traffic own = comm::take_traffic(world_);
  const std::int64_t before = std::exchange(told_step_, record.step);
  // What came before the first record is no training.
  if (count() == 1 || before < 0) return;
  const auto steps = static_cast<double>(std::max<std::int64_t>(1, record.step - before));
  constexpr std::int64_t kNumbers = 3;
  const at::Tensor here = at::empty({1, kNumbers}, at::kDouble);
  auto* const number = here.mutable_data_ptr<double>();
  number[0] = static_cast<double>(own.calls);
  number[1] = 1e3 * own.seconds / steps;
  number[2] = 1e-6 * static_cast<double>(own.bytes) / steps;
  at::Tensor all = at::empty({count(), kNumbers}, at::kDouble);
  world_.all_gather(here, all, "waits of ranks");
  for (std::int64_t rank = 0; rank < count(); ++rank) {
    const double* const of_rank = all.const_data_ptr<double>() + kNumbers * rank;
    if (of_rank[0] == 0.0) continue;  // nobody notes it
    record.ranks.push_back({.rank = rank, .wait_ms = of_rank[1], .exchanged_mb = of_rank[2]});
  }
}

inference::RankShare RunRanks::share() {
  if (count() == 1) return {};
  return {.rank = world_.rank(),
          .num_ranks = world_.size(),
          .sum = [this](at::Tensor& tensor) { world_.all_reduce_sum(tensor, "shared evaluation"); },
          .of_first = [this](std::int64_t number) { return of_leader(number, "token"); }};
}

}  // namespace switchyard::train
