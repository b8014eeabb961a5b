#include "switchyard/verify/layouts.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "switchyard/config/folders.h"
#include "switchyard/core/error.h"
#include "switchyard/core/host.h"
#include "switchyard/data/sample_source.h"
#include "switchyard/data/special_tokens.h"
#include "switchyard/parallel/rank_layout.h"
#include "switchyard/train/build.h"
#include "verify/compare.h"
#include "verify/memory.h"
#include "verify/trace.h"

namespace switchyard::verify {
namespace {

// Everything that a rank would refuse, before the first of them starts.
void check_fits(const Layout& layout, const config::Config& config) {
  try {
    const parallel::RankLayout ranks =
        parallel::make_rank_layout(0, layout.num_ranks, layout.expert);
    (void)ranks.experts(config.model.moe.num_experts);
  } catch (const UsageError& error) {
    throw UsageError(fmt::format("layout {}: {}", layout.name(), error.what()), error.hint());
  }
  if (config.train.micro_batch_size % layout.num_ranks != 0) {
    const std::int64_t micro = std::lcm(config.train.micro_batch_size, layout.num_ranks);
    throw UsageError(fmt::format("layout {}: {} ranks cannot share a micro-batch of {} sequences",
                                 layout.name(), layout.num_ranks, config.train.micro_batch_size),
                     fmt::format("train.micro_batch_size={} train.global_batch_size={}", micro,
                                 std::lcm(micro, config.train.global_batch_size)));
  }
}

// Where no tokenizer has one.
void fill_vocab_size_of_random_tokens(config::ModelConfig& model) {
  constexpr std::int64_t kTokens = 512;
  if (model.vocab_size == 0) model.vocab_size = kTokens;
  constexpr std::int64_t kLeastOfEncoder = data::SpecialTokens::kCount + 1;
  if (model.is_causal() || model.vocab_size >= kLeastOfEncoder) return;
  throw UsageError(
      fmt::format("model.vocab_size is {}, but an encoder has {} special tokens beside those of "
                  "text, of which it needs at least one",
                  model.vocab_size, data::SpecialTokens::kCount),
      fmt::format("model.vocab_size={} is the least; leave it out to take {}, or the tokenizer's "
                  "where the data is prepared",
                  kLeastOfEncoder, kTokens));
}

std::string cell(const Difference& difference) {
  return difference.relative == 0.0 ? "equal" : fmt::format("{:.1e}", difference.relative);
}

// Of what is compared in whole steps alone.
std::string cell_of_steps(const LayoutResult& result, const Difference& difference) {
  return result.num_judged == 0 ? "-" : cell(difference);
}

// What a reader has to know about a layout that passes although choices flipped; empty without.
std::string note_of_flip(const LayoutResult& result, const VerifyReport& report) {
  if (!report.tolerances.judge_until_flip || !result.first_flip || !result.complaints.empty()) {
    return {};
  }
  const FirstFlip& flip = *result.first_flip;
  return fmt::format(
      "{}: rounding flips {} of {} choices of layer {} in step {}; the {} steps before are judged, "
      "later losses and norms are up to {:.1e} apart ({})\n",
      result.layout.name(), flip.choices.num_flipped, flip.choices.num_pairs, flip.layer, flip.step,
      result.num_judged, result.after_flip.relative, result.after_flip.where);
}

}  // namespace

std::vector<Layout> parse_layouts(std::string_view text) {
  constexpr std::int64_t kMostRanks = 64;  // threads of one process
  return config::parse_layouts(text, "--layouts", kMostRanks);
}

Tolerances tolerances_of(const std::string& precision) {
  if (precision == "fp64") return {.loss = 1e-10, .parameter = 1e-10};
  if (precision == "fp32") return {.loss = 1e-5, .parameter = 1e-3, .judge_until_flip = true};
  throw UsageError(
      fmt::format("in {} layouts differ by what rounding does, however right they are", precision),
      "verify with train.precision=fp64 or fp32");
}

bool VerifyReport::passed() const {
  return std::all_of(layouts.begin(), layouts.end(),
                     [](const LayoutResult& result) { return result.complaints.empty(); });
}

double VerifyReport::largest_difference() const {
  double largest = 0.0;
  for (const LayoutResult& result : layouts) {
    for (const double each : {result.loss.relative, result.clip_norm.relative}) {
      if (!std::isnan(largest) && !(each <= largest)) largest = each;
    }
  }
  return largest;
}

VerifyReport verify_layouts(const config::Config& config, const VerifyOptions& options) {
  VerifyReport report{.config = config,
                      .steps = options.steps,
                      .random_tokens = !config::holds_prepared_data(config.data),
                      .tolerances = tolerances_of(config.train.precision),
                      .layouts = {}};
  if (config.train.device != "cpu") {
    throw UsageError(
        "ranks are threads here, and one thread computes all gradients of a GPU: ranks would wait "
        "for each other",
        "verify with train.device=cpu");
  }
  for (const Layout& layout : options.layouts) check_fits(layout, config);
  if (report.random_tokens) {
    fill_vocab_size_of_random_tokens(report.config.model);
  } else {
    train::fill_vocab_size(report.config,
                           data::SampleSource(config.data, config.run.seed).tokenizer());
  }
  check_memory(report.config, options, read_host_facts());
  const Trace alone = train_in_layout(report.config, {}, {.layouts = {}, .steps = options.steps},
                                      report.random_tokens);
  for (const Layout& layout : options.layouts) {
    const Trace trace = train_in_layout(report.config, layout, options, report.random_tokens);
    report.layouts.push_back(compare(layout, alone, trace, report.tolerances));
  }
  return report;
}

std::string report_page(const VerifyReport& report) {
  const config::TrainConfig& train = report.config.train;
  std::string text = fmt::format(
      "{} steps of {} sequences in micro-steps of {}, {}, router {}{}; against one rank:\n\n",
      report.steps, train.global_batch_size, train.micro_batch_size, train.precision,
      report.config.model.moe.router.type,
      report.random_tokens ? ", random tokens (the data is not prepared)" : "");
  text += fmt::format("{:<8}{:>10}{:>12}{:>12}{:>12}{:>14}  {}\n", "layout", "loss", "clip norm",
                      "gradients", "parameters", "router state", "choices that flipped");
  std::string notes;
  std::string wrong;
  for (const LayoutResult& result : report.layouts) {
    text += fmt::format(
        "{:<8}{:>10}{:>12}{:>12}{:>12}{:>14}  {} of {}\n", result.layout.name(), cell(result.loss),
        cell_of_steps(result, result.clip_norm), cell_of_steps(result, result.gradient),
        cell_of_steps(result, result.parameter), cell_of_steps(result, result.router_state),
        result.choices.num_flipped, result.choices.num_pairs);
    notes += note_of_flip(result, report);
    for (const std::string& complaint : result.complaints) {
      wrong += fmt::format("{}: {}\n", result.layout.name(), complaint);
    }
  }
  text += fmt::format("\ntolerance {:.0e} for losses and clip norm, {:.0e} for the rest\n",
                      report.tolerances.loss, report.tolerances.parameter);
  text += notes + wrong;
  return text + fmt::format("max relative difference {:.1e}\n", report.largest_difference());
}

}  // namespace switchyard::verify
