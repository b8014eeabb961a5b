// Huang et al. (ACL 2024), with their N experts written E:
//   dynamic loss       Loss_d = -sum_e P_e log P_e, the entropy, averaged over tokens;
//   load-balance loss  Loss_b = E * sum_e f_e Q_e, f_e the fraction of tokens that chose expert e,
//                      Q_e the mean of P_e over tokens.
// A step's load balance is the mean over its micro-steps m weighted by their tokens,
//   sum_m (T_m / T_step) * E * sum_e f_e(m) Q_e(m),  Q_e(m) = prob_sum_e / T_m,
// and linear in prob_sum, so a rank's share is the same with its own prob_sum: T_m cancels and
//   share = E / T_step * sum_e f_e * prob_sum_e(local).
// The scope says which tokens f is taken over (and so over which Q is a mean, as T cancels there
// as well): the micro-step of all ranks, each sequence, or this rank's part of the micro-step.
// The L1 loss of ReMoE (Wang et al., ICLR 2025) is of the same form, with the sums of the routing
// weights in place of those of probabilities, and always over the tokens of all ranks: a weight
// costs more at an expert that has more tokens.
#include "switchyard/routing/losses.h"

#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

#include "switchyard/core/error.h"

namespace switchyard::routing {
namespace {

bool by_tokens(const config::MoeLossConfig& config) {
  if (config.normalize != "tokens" && config.normalize != "assignments") {
    throw UsageError(fmt::format(
        "model.moe.loss.normalize: unknown '{}'; known: tokens, assignments", config.normalize));
  }
  return config.normalize == "tokens";
}

// count [..., E] int64, num_tokens [..., 1] int64 -> f [..., E] fp64: 0 where there is no token or
// no row.
at::Tensor fraction(const at::Tensor& count, const at::Tensor& num_tokens, bool tokens) {
  const at::Tensor total = tokens ? num_tokens : count.sum(-1, /*keepdim=*/true);
  return count.to(at::kDouble).div(total.clamp_min(1));
}

at::Tensor fraction_over_ranks(const MicroStepCounts& global, const ops::RouteSums& local,
                               bool tokens) {
  SWITCHYARD_CHECK(global.count_E.dim() == 1 && global.count_E.size(0) == local.count_BE.size(1),
                   "global counts of {} entries for {} experts", global.count_E.numel(),
                   local.count_BE.size(1));
  const at::Tensor count_E = global.count_E.to(local.count_BE.device());
  return fraction(count_E, at::full({1}, global.num_tokens, count_E.options()), tokens);
}

at::Tensor fraction_in_scope(const ops::RouteSums& local, const MicroStepCounts& global,
                             const config::MoeLossConfig& config) {
  const bool tokens = by_tokens(config);
  if (config.scope == "sequence") {
    return fraction(local.count_BE, local.num_tokens_B.unsqueeze(-1), tokens);
  }
  if (config.scope == "local") {
    return fraction(local.count_BE.sum(0), local.num_tokens_B.sum().unsqueeze(-1), tokens);
  }
  if (config.scope != "global") {
    throw UsageError(fmt::format(
        "model.moe.loss.scope: unknown '{}'; known: global, sequence, local", config.scope));
  }
  return fraction_over_ranks(global, local, tokens);
}

}  // namespace

LossShares loss_shares(const ops::RouteSums& local, const MicroStepCounts& global,
                       std::int64_t step_tokens, const config::MoeLossConfig& config) {
  const at::Tensor fraction_E = fraction_in_scope(local, global, config);
  const bool has_l1 = local.weight_sum_E.defined();
  if (step_tokens == 0) {
    const at::Tensor zero = at::zeros({}, local.prob_sum_BE.options());
    return {.load_balance = zero, .dynamic = zero, .z = zero, .l1 = has_l1 ? zero : at::Tensor()};
  }
  const double per_token = 1.0 / static_cast<double>(step_tokens);
  const double num_experts = static_cast<double>(local.count_BE.size(1));
  const double scale = num_experts * per_token;
  LossShares shares;
  shares.load_balance =
      local.prob_sum_BE.mul(fraction_E.to(local.prob_sum_BE.scalar_type())).sum().mul(scale);
  shares.dynamic = local.entropy_sum.mul(per_token);
  shares.z = local.z_sum.mul(per_token);
  if (has_l1) {
    const at::Tensor load_E = fraction_over_ranks(global, local, /*tokens=*/true);
    shares.l1 =
        local.weight_sum_E.mul(load_E.to(local.weight_sum_E.scalar_type())).sum().mul(scale);
  }
  return shares;
}

}  // namespace switchyard::routing
