#include "verify/compare.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/linalg_vector_norm.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <iterator>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "switchyard/core/error.h"

namespace switchyard::verify {
namespace {

// NaN is the largest of all.
void raise_to(Difference& most, double relative, const std::string& where) {
  if (std::isnan(most.relative) || relative <= most.relative) return;
  most = {.relative = relative, .where = where};
}

double relative_of_numbers(double expected, double actual, double smallest = 1e-3) {
  return std::abs(actual - expected) / std::max(std::abs(expected), smallest);
}

double relative_in_norm(const at::Tensor& expected, const at::Tensor& actual) {
  const auto norm = [](const at::Tensor& tensor) {
    return at::linalg_vector_norm(tensor.to(at::kCPU, at::kDouble)).item<double>();
  };
  const double difference = norm(actual.to(at::kDouble) - expected.to(at::kDouble));
  const double size = norm(expected);
  return difference == 0.0 ? 0.0 : difference / size;
}

// ---------------------------------------------------------------- losses and clip norm

void compare_layer(const telemetry::StepSums& expected, const telemetry::StepSums& actual,
                   std::size_t i, bool same_choices, Difference& most) {
  const telemetry::LossTerms& a = expected.layers[i].losses;
  const telemetry::LossTerms& b = actual.layers[i].losses;
  const auto loss = [&](double relative, const char* what) {
    raise_to(most, relative,
             fmt::format("{} of layer {}, step {}", what, expected.layers[i].layer, expected.step));
  };
  if (same_choices) {
    loss(relative_of_numbers(a.load_balance, b.load_balance), "load balance");
    // Of weights beside the cut at 0, which are small and as far apart as the logits are.
    loss(relative_of_numbers(a.l1, b.l1, /*smallest=*/1.0), "l1 loss");
  }
  loss(relative_of_numbers(a.dynamic, b.dynamic), "dynamic loss");
  loss(relative_of_numbers(a.z, b.z), "z loss");
}

void compare_losses(const telemetry::StepSums& expected, const telemetry::StepSums& actual,
                    Difference& most) {
  raise_to(most, relative_of_numbers(expected.lm_loss, actual.lm_loss),
           fmt::format("step {}", expected.step));
  for (std::size_t i = 0; i < expected.layers.size(); ++i) {
    compare_layer(expected, actual, i, /*same_choices=*/true, most);
  }
}

void compare_clip_norm(const telemetry::StepSums& expected, const telemetry::StepSums& actual,
                       Difference& most) {
  raise_to(most, relative_of_numbers(expected.grad_norm, actual.grad_norm),
           fmt::format("step {}", expected.step));
}

// Of the step in which choices of `layer` flip what is computed before them: the losses of the
// layers below, and those of its own that are made of logits alone.
void compare_up_to(std::int64_t layer, const telemetry::StepSums& expected,
                   const telemetry::StepSums& actual, Difference& most) {
  for (std::size_t i = 0; i < expected.layers.size(); ++i) {
    if (expected.layers[i].layer > layer) continue;
    compare_layer(expected, actual, i, expected.layers[i].layer < layer, most);
  }
}

// ---------------------------------------------------------------- tensors

void compare_tensors(const std::map<std::string, at::Tensor>& expected,
                     const std::map<std::string, at::Tensor>& actual, const Layout& layout,
                     std::int64_t step, Difference& most) {
  for (const auto& [name, value] : expected) {
    const auto found = actual.find(name);
    SWITCHYARD_CHECK(found != actual.end(), "no rank of {} holds {}", layout.name(), name);
    raise_to(most, relative_in_norm(value, found->second), fmt::format("{}, step {}", name, step));
  }
}

void compare_router_state(const std::map<std::string, std::vector<at::Tensor>>& expected,
                          const std::map<std::string, std::vector<at::Tensor>>& of_ranks,
                          std::int64_t step, Difference& most) {
  for (const auto& [name, value] : expected) {
    const std::vector<at::Tensor>& actual = of_ranks.at(name);
    for (std::size_t rank = 0; rank < actual.size(); ++rank) {
      raise_to(most, relative_in_norm(value.front(), actual[rank]),
               fmt::format("{}, step {}, rank {}", name, step, rank));
    }
  }
}

// ---------------------------------------------------------------- choices of experts

// By (steps before, layer).
using ChoicesOfLayer = std::map<std::pair<std::int64_t, std::int64_t>, FlippedChoices>;

// A token that got no expert has no entry.
ChoicesOfLayer count_choices(const Trace& alone, const Trace& trace) {
  const std::vector<std::int32_t> none;
  const auto experts_in = [&none](const Trace& of, const TokenOfLayer& token) -> const auto& {
    const auto found = of.experts.find(token);
    return found == of.experts.end() ? none : found->second;
  };
  ChoicesOfLayer choices;
  const auto of_layer = [&choices](const TokenOfLayer& token) -> FlippedChoices& {
    return choices[{std::get<0>(token), std::get<1>(token)}];
  };
  for (const auto& [token, experts] : alone.experts) {
    const std::vector<std::int32_t>& others = experts_in(trace, token);
    std::vector<std::int32_t> flipped;
    std::set_symmetric_difference(experts.begin(), experts.end(), others.begin(), others.end(),
                                  std::back_inserter(flipped));
    of_layer(token).num_flipped += std::ssize(flipped);
    of_layer(token).num_pairs += std::ssize(experts);
  }
  for (const auto& [token, experts] : trace.experts) {
    if (experts_in(alone, token).empty()) of_layer(token).num_flipped += std::ssize(experts);
  }
  return choices;
}

void note_flips(const ChoicesOfLayer& choices, LayoutResult& result) {
  for (const auto& [place, count] : choices) {
    result.choices.num_flipped += count.num_flipped;
    result.choices.num_pairs += count.num_pairs;
    if (count.num_flipped == 0 || result.first_flip) continue;
    result.first_flip = {.step = place.first + 1, .layer = place.second, .choices = count};
  }
}

// ---------------------------------------------------------------- the judgement

// Of one layer's pairs in a step, where rounding alone is the difference: it flips a choice whose
// score lies within rounding of the cut, and a choice of another expert counts twice.
std::int64_t most_flips_by_rounding(std::int64_t num_pairs) {
  constexpr std::int64_t kFewest = 4;
  return std::max(kFewest, num_pairs / 1000);
}

// That rounding may flip choices is not to hide anything else.
void judge_first_flip(const FirstFlip& flip, std::int64_t num_steps, LayoutResult& result) {
  const std::int64_t most = most_flips_by_rounding(flip.choices.num_pairs);
  if (flip.choices.num_flipped > most) {
    result.complaints.push_back(
        fmt::format("{} of {} choices of layer {} flip in step {}, where the first does: rounding "
                    "flips at most {}",
                    flip.choices.num_flipped, flip.choices.num_pairs, flip.layer, flip.step, most));
  }
  if (!std::isfinite(result.after_flip.relative)) {
    result.complaints.push_back(
        fmt::format("losses or norms are not numbers any more ({})", result.after_flip.where));
  }
  constexpr std::int64_t kFewestSteps = 3;  // with moments and a router's state of steps before
  if (result.complaints.empty() && result.num_judged < std::min(kFewestSteps, num_steps)) {
    result.complaints.push_back(
        fmt::format("rounding flips a choice in step {} already, too early to judge: verify with "
                    "train.precision=fp64, or with another run.seed",
                    flip.step));
  }
}

void judge(const Tolerances& tolerances, std::int64_t num_steps, LayoutResult& result) {
  const auto look_at = [&](const char* what, const Difference& difference, double tolerance) {
    if (difference.relative <= tolerance) return;
    result.complaints.push_back(fmt::format("{} differs by {:.2e} ({}), more than {:.0e}", what,
                                            difference.relative, difference.where, tolerance));
  };
  look_at("loss", result.loss, tolerances.loss);
  look_at("clip norm", result.clip_norm, tolerances.loss);
  look_at("gradient", result.gradient, tolerances.parameter);
  look_at("parameter", result.parameter, tolerances.parameter);
  look_at("router state", result.router_state, tolerances.parameter);
  if (tolerances.judge_until_flip && result.first_flip) {
    judge_first_flip(*result.first_flip, num_steps, result);
  }
}

}  // namespace

LayoutResult compare(const Layout& layout, const Trace& alone, const Trace& trace,
                     const Tolerances& tolerances) {
  LayoutResult result{.layout = layout};
  note_flips(count_choices(alone, trace), result);
  const std::int64_t num_steps = std::ssize(alone.steps);
  result.num_judged = num_steps;
  if (tolerances.judge_until_flip && result.first_flip) {
    const FirstFlip& flip = *result.first_flip;
    result.num_judged = flip.step - 1;
    compare_up_to(flip.layer, alone.steps[result.num_judged], trace.steps[result.num_judged],
                  result.loss);
  }
  for (std::int64_t i = 0; i < num_steps; ++i) {
    const bool is_judged = i < result.num_judged;
    compare_losses(alone.steps[i], trace.steps[i], is_judged ? result.loss : result.after_flip);
    compare_clip_norm(alone.steps[i], trace.steps[i],
                      is_judged ? result.clip_norm : result.after_flip);
    if (!is_judged) continue;
    compare_tensors(alone.gradients[i], trace.gradients[i], layout, i + 1, result.gradient);
    compare_tensors(alone.parameters[i], trace.parameters[i], layout, i + 1, result.parameter);
    compare_router_state(alone.router_state[i], trace.router_state[i], i + 1, result.router_state);
  }
  judge(tolerances, num_steps, result);
  return result;
}

}  // namespace switchyard::verify
