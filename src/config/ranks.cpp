#include "switchyard/config/ranks.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "switchyard/config/load.h"
#include "switchyard/core/error.h"
#include "switchyard/core/text.h"

namespace switchyard::config {
namespace {

std::optional<std::int64_t> number(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 1) return std::nullopt;
  return value;
}

Layout parse_layout(std::string_view text, std::string_view flag, std::int64_t most_ranks) {
  const std::size_t cross = std::min(text.find('x'), text.size());
  const auto num_ranks = number(text.substr(0, cross));
  const auto expert = number(text.substr(std::min(cross + 1, text.size())));
  if (!num_ranks || !expert || *num_ranks > most_ranks) {
    throw UsageError(fmt::format("{}: '{}' is no layout", flag, printable(text)),
                     fmt::format("RANKSxEXPERT, at most {} ranks, e.g. 4x2: four ranks, experts "
                                 "shared out over groups of two",
                                 most_ranks));
  }
  return {.num_ranks = *num_ranks, .expert = *expert};
}

}  // namespace

std::string Layout::name() const {
  return fmt::format("{}x{}", num_ranks, expert);
}

std::vector<Layout> parse_layouts(std::string_view text, std::string_view flag,
                                  std::int64_t most_ranks) {
  std::vector<Layout> layouts;
  for (const std::string_view layout : split(text, ",")) {
    layouts.push_back(parse_layout(layout, flag, most_ranks));
  }
  return layouts;
}

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
