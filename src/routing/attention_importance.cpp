// attention_importance (after DA-MoE, arXiv 2409.06669): a token's importance a_t, read off the
// attention of its block, decides how many experts K_t it gets; which ones, the probabilities do.
// The mapping from attention to K_t is ours: docs/routers.md.
#include <ATen/ops/cumsum.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/repeat_interleave.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/segment_reduce.h>
#include <ATen/ops/where.h>
#include <c10/core/GradMode.h>

#include <cmath>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "routing/linear_router.h"
#include "switchyard/config/routers/attention_importance.h"
#include "switchyard/core/error.h"
#include "switchyard/ops/expert_allocation.h"
#include "switchyard/ops/top_k_route.h"

namespace switchyard::routing {
namespace {

using ops::ImportanceMeasure;

constexpr double kEmaDecay = 0.99;
constexpr const char* kSumName = "importance_sum";     // over valid tokens, of the raw measure
constexpr const char* kStateName = "importance_mean";  // the normaliser of causal models

struct Options {
  ImportanceMeasure measure = ImportanceMeasure::entropy;
  ops::AllocationOptions allocation;
  bool renormalize = false;
};

// The measure's mean over a sequence in which every query attends uniformly to what it sees.
double mean_under_uniform_attention(ImportanceMeasure measure, std::int64_t sequence_length) {
  if (measure != ImportanceMeasure::peak) {
    return 1.0;  // a uniform row has the largest entropy, which the measure divides by
  }
  SWITCHYARD_CHECK(sequence_length >= 1, "attention_importance needs the sequence length, got {}",
                   sequence_length);
  double sum = 0.0;
  for (std::int64_t position = 0; position < sequence_length; ++position) {
    sum += 1.0 / static_cast<double>(position + 1);
  }
  return sum / static_cast<double>(sequence_length);
}

// [B+1] boundaries -> [T] the sequence of each token.
at::Tensor sequence_of_token(const at::Tensor& sequence_offset_B1, std::int64_t num_tokens) {
  const std::int64_t num_sequences = sequence_offset_B1.size(0) - 1;
  const at::Tensor length_B = sequence_offset_B1.narrow(0, 1, num_sequences)
                                  .sub(sequence_offset_B1.narrow(0, 0, num_sequences));
  // Knowing the size of the result spares a CUDA device the round trip of asking for it.
  const std::optional<std::int64_t> output_size = num_tokens;
  return at::repeat_interleave(length_B, output_size);
}

// Sum per sequence, each added up on its own: no sequence's values reach another's.
at::Tensor sum_per_sequence(const at::Tensor& value_T, const at::Tensor& sequence_offset_B1) {
  return at::segment_reduce(value_T, "sum", std::nullopt, std::nullopt, sequence_offset_B1, 0,
                            /*unsafe=*/true, /*initial=*/0.0);
}

class AttentionImportanceRouter final : public LinearRouter {
 public:
  AttentionImportanceRouter(const Options& options, const RouterBuild& build)
      : LinearRouter(build, options.renormalize),
        options_(options),
        causal_(build.causal),
        is_relative_(options.allocation.rule != ops::AllocationRule::ceiling) {
    if (has_running_mean()) {
      mean_ =
          static_cast<float>(mean_under_uniform_attention(options.measure, build.sequence_length));
    }
  }

  [[nodiscard]] ImportanceMeasure importance() const override { return options_.measure; }

  [[nodiscard]] RouteResult route(const RouterInput& input) override {
    const std::int64_t num_tokens = input.x_TH.size(0);
    SWITCHYARD_CHECK(input.importance_T.defined() && input.importance_T.dim() == 1 &&
                         input.importance_T.size(0) == num_tokens,
                     "router '{}' needs one importance per token", weight().name);
    const at::Tensor logits_TE = logits(input.x_TH);
    ops::TopKOptions options;
    options.renormalize = options_.renormalize;
    at::Tensor importance_sum;
    {
      const c10::NoGradGuard statistic_only;
      const at::Tensor valid_T =
          input.valid_T.defined() ? input.valid_T
                                  : at::ones({num_tokens}, input.x_TH.options().dtype(at::kBool));
      const at::Tensor measure_T = at::where(valid_T, input.importance_T.to(at::kDouble), 0.0);
      const at::Tensor importance_T = importance_of(measure_T, valid_T, input);
      // NaN, only where attention was: the op gives such tokens k_min, and the step is skipped.
      options.k_T = ops::expert_allocation(importance_T, valid_T, input.sequence_offset_B1,
                                           options_.allocation);
      if (has_running_mean() && input.training) {
        importance_sum = measure_T.sum();
      }
    }
    ops::RouteOutput output =
        ops::top_k_route(logits_TE, input.valid_T, input.sequence_offset_B1, options);
    if (importance_sum.defined()) {
      output.sums.named[kSumName] = importance_sum;
    }
    return {std::move(output.routing), std::move(output.sums)};
  }

  [[nodiscard]] std::map<std::string, at::Tensor> state() const override {
    if (!has_running_mean()) {
      return {};
    }
    return {{kStateName, at::scalar_tensor(mean_, at::kFloat)}};
  }

  void load_state(const std::map<std::string, at::Tensor>& state) override {
    check_state(state);
    if (!has_running_mean()) {
      return;
    }
    const float mean = state.at(kStateName).item<float>();
    if (!(mean > 0.0F)) {
      throw DataError(fmt::format("state '{}' of router '{}' must be above 0, got {}", kStateName,
                                  weight().name, mean));
    }
    mean_ = mean;
  }

  void after_step(const GlobalSums& sums) override {
    if (!has_running_mean() || sums.num_tokens == 0) {
      return;
    }
    const auto found = sums.named.find(kSumName);
    SWITCHYARD_CHECK(found != sums.named.end(), "router '{}' got no {}", weight().name, kSumName);
    const double step_mean = found->second.at(0) / static_cast<double>(sums.num_tokens);
    if (std::isfinite(step_mean) && step_mean > 0.0) {
      mean_ = static_cast<float>(kEmaDecay * static_cast<double>(mean_) +
                                 (1.0 - kEmaDecay) * step_mean);
    }
  }

 private:
  [[nodiscard]] bool has_running_mean() const { return causal_ && is_relative_; }

  [[nodiscard]] at::Tensor importance_of(const at::Tensor& measure_T, const at::Tensor& valid_T,
                                         const RouterInput& input) const {
    if (!is_relative_) return measure_T;
    return causal_ ? relative_to_running_mean(measure_T, valid_T, input)
                   : relative_to_sequence_mean(measure_T, valid_T, input.sequence_offset_B1);
  }

  // Causal: a token's number of experts must not depend on later tokens, hence one constant.
  [[nodiscard]] at::Tensor relative_to_running_mean(const at::Tensor& measure_T,
                                                    const at::Tensor& valid_T,
                                                    const RouterInput& input) const {
    // Visible keys = valid tokens of the sequence up to this one; integers, so sums are exact.
    const at::Tensor count_T = at::cumsum(valid_T.to(at::kLong), 0);
    const at::Tensor exclusive_T = count_T.sub(valid_T.to(at::kLong));
    const at::Tensor sequence_T = sequence_of_token(input.sequence_offset_B1, measure_T.size(0));
    const at::Tensor first_T = input.sequence_offset_B1.index_select(0, sequence_T);
    at::Tensor visible_T = count_T.sub(exclusive_T.index_select(0, first_T));
    if (input.cached_keys_B.defined()) {
      visible_T = visible_T.add(input.cached_keys_B.index_select(0, sequence_T));
    }
    return at::where(visible_T.eq(1), 1.0, measure_T.div(static_cast<double>(mean_)));
  }

  [[nodiscard]] static at::Tensor relative_to_sequence_mean(const at::Tensor& measure_T,
                                                            const at::Tensor& valid_T,
                                                            const at::Tensor& sequence_offset_B1) {
    const at::Tensor mean_B =
        sum_per_sequence(measure_T, sequence_offset_B1)
            .div(sum_per_sequence(valid_T.to(at::kDouble), sequence_offset_B1));
    return measure_T.div(
        mean_B.index_select(0, sequence_of_token(sequence_offset_B1, measure_T.size(0))));
  }

  Options options_;
  bool causal_;
  bool is_relative_;  // to its average; ceil_experts takes the measure as it is
  float mean_ = 1.0F;
};

ImportanceMeasure parse_measure(const std::string& name, bool causal) {
  if (name == "attention_received" || name == "attention_received_peak") {
    if (causal) {
      throw UsageError(
          fmt::format("model.moe.router.importance: {} cannot be used in a causal model: what "
                      "a token receives comes from later tokens",
                      name),
          "use attention_peak or attention_entropy");
    }
    return name == "attention_received" ? ImportanceMeasure::received
                                        : ImportanceMeasure::received_peak;
  }
  if (name == "attention_peak") {
    return ImportanceMeasure::peak;
  }
  if (name == "attention_entropy") {
    return ImportanceMeasure::entropy;
  }
  throw UsageError(
      fmt::format("model.moe.router.importance: unknown measure '{}'; known: "
                  "attention_received, attention_received_peak, attention_peak, attention_entropy",
                  name));
}

ops::AllocationRule parse_allocation(const std::string& name, bool causal) {
  if (name == "proportional") {
    return ops::AllocationRule::proportional;
  }
  if (name == "ceil_experts") {
    return ops::AllocationRule::ceiling;
  }
  if (name != "budget") {
    throw UsageError(fmt::format(
        "model.moe.router.allocation: unknown '{}'; known: proportional, budget, ceil_experts",
        name));
  }
  if (causal) {
    throw UsageError(
        "model.moe.router.allocation: budget cannot be used in a causal model: a token's experts "
        "would depend on later tokens",
        "use allocation: proportional");
  }
  return ops::AllocationRule::budget;
}

// K_t = ceil(measure x E): only a probability may be multiplied by the number of experts.
void check_ceiling(const Options& options, std::int64_t num_experts) {
  if (options.measure != ImportanceMeasure::peak &&
      options.measure != ImportanceMeasure::received_peak) {
    throw UsageError(
        "model.moe.router.allocation: ceil_experts needs importance attention_peak or "
        "attention_received_peak");
  }
  const ops::AllocationOptions& k = options.allocation;
  if (!(k.k_min >= 0 && k.k_min <= k.k_max && k.k_max <= num_experts)) {
    throw UsageError(
        fmt::format("model.moe.router needs 0 <= k_min <= k_max <= {} (the experts), got k_min {}, "
                    "k_max {}",
                    num_experts, k.k_min, k.k_max));
  }
}

}  // namespace

std::unique_ptr<Router> make_attention_importance(const config::RouterConfig& config,
                                                  const RouterBuild& build) {
  const auto& given = config.options.as<config::AttentionImportanceOptions>();
  Options options;
  options.measure = parse_measure(given.importance_in(build.causal), build.causal);
  options.renormalize = config.renormalize;
  options.allocation.rule = parse_allocation(given.allocation, build.causal);
  options.allocation.k_mean = given.k_mean;
  options.allocation.k_min = given.k_min;
  options.allocation.k_max = given.k_max.value_or(build.num_experts);
  if (options.allocation.rule == ops::AllocationRule::ceiling) {
    check_ceiling(options, build.num_experts);
    options.allocation.k_mean = static_cast<double>(build.num_experts);
    return std::make_unique<AttentionImportanceRouter>(options, build);
  }
  const ops::AllocationOptions& k = options.allocation;
  if (!(k.k_min >= 0 && static_cast<double>(k.k_min) <= k.k_mean &&
        k.k_mean <= static_cast<double>(k.k_max) && k.k_max <= build.num_experts)) {
    throw UsageError(
        fmt::format("model.moe.router needs 0 <= k_min <= k_mean <= k_max <= {} (the "
                    "experts), got k_min {}, k_mean {}, k_max {}",
                    build.num_experts, k.k_min, k.k_mean, k.k_max));
  }
  return std::make_unique<AttentionImportanceRouter>(options, build);
}

}  // namespace switchyard::routing
