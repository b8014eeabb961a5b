#include "switchyard/config/ranks.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <string>
#include <utility>
#include <vector>

#include "switchyard/config/load.h"
#include "switchyard/core/text.h"

namespace switchyard::config {

std::vector<std::int64_t> common_divisors(std::int64_t a, std::int64_t b) {
  std::vector<std::int64_t> found;
  for (std::int64_t value = 1; value <= a; ++value) {
    if (a % value == 0 && b % value == 0) found.push_back(value);
  }
  return found;
}

void check_ranks(const Config& config, std::int64_t num_ranks) {
  std::vector<std::string> problems;
  std::string hint;
  const std::int64_t expert = config.parallel.expert;
  if (num_ranks % expert != 0) {
    problems.push_back(
        fmt::format("parallel.expert: {} cannot be cut into groups of {}; here {} would do",
                    counted(num_ranks, "rank"), expert,
                    fmt::join(common_divisors(num_ranks, config.model.moe.num_experts), ", ")));
    if (num_ranks == 1) {
      hint = fmt::format("start {} ranks: switchyard launch --nproc {} -- ...", expert, expert);
    }
  }
  const TrainConfig& train = config.train;
  if (train.global_batch_size % (train.micro_batch_size * num_ranks) != 0) {
    std::vector<std::int64_t> values;
    if (train.global_batch_size % num_ranks == 0) {
      const std::int64_t per_rank = train.global_batch_size / num_ranks;
      values = common_divisors(per_rank, per_rank);
    }
    problems.push_back(fmt::format(
        "train.global_batch_size: {} samples cannot be cut into micro-batches of {} on {}{}",
        train.global_batch_size, train.micro_batch_size, counted(num_ranks, "rank"),
        values.empty()
            ? fmt::format("; it is no multiple of {}", num_ranks)
            : fmt::format("; with train.micro_batch_size {} it can", fmt::join(values, ", "))));
  }
  if (!problems.empty()) throw ConfigError(std::move(problems), hint);
}

}  // namespace switchyard::config
