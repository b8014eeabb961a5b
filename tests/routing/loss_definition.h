// The router losses written from their definitions: plain loops over (token, expert) probabilities
// in double, sharing nothing with the code under test but the formulas. E experts, T tokens.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <string>
#include <vector>

namespace switchyard::routing::testing {

struct DefinedToken {
  std::vector<double> logits;  // [E]
  std::vector<bool> chosen;    // [E]
  bool valid = true;
};
using DefinedSequence = std::vector<DefinedToken>;
using DefinedBatch = std::vector<DefinedSequence>;   // what one rank has of a micro-step
using DefinedMicroStep = std::vector<DefinedBatch>;  // by rank
using DefinedStep = std::vector<DefinedMicroStep>;

struct DefinedLosses {
  double load_balance = 0.0;
  double dynamic = 0.0;
  double z = 0.0;
};

inline std::vector<double> softmax(const std::vector<double>& logits) {
  std::vector<double> probs;
  double sum = 0.0;
  for (const double logit : logits) {
    probs.push_back(std::exp(logit));
    sum += probs.back();
  }
  for (double& prob : probs) {
    prob /= sum;
  }
  return probs;
}

// Huang et al.: the smallest set of the most probable experts whose probabilities sum to p.
inline std::vector<bool> chosen_by_top_p(const std::vector<double>& logits, double p) {
  const std::vector<double> probs = softmax(logits);
  std::vector<bool> chosen(probs.size(), false);
  double sum = 0.0;
  do {
    std::size_t best = probs.size();
    for (std::size_t e = 0; e < probs.size(); ++e) {
      if (!chosen[e] && (best == probs.size() || probs[e] > probs[best])) {
        best = e;
      }
    }
    chosen[best] = true;
    sum += probs[best];
  } while (sum < p);
  return chosen;
}

// T * E * sum_e f_e Q_e of a group of tokens; f_e = n_e / T, or n_e / N with `by_assignments`.
inline double balance_times_tokens(const std::vector<DefinedToken>& group, bool by_assignments) {
  double num_tokens = 0.0;
  double num_rows = 0.0;
  std::vector<double> count;
  std::vector<double> prob_sum;
  for (const DefinedToken& token : group) {
    const std::vector<double> probs = softmax(token.logits);
    count.resize(probs.size(), 0.0);
    prob_sum.resize(probs.size(), 0.0);
    if (!token.valid) {
      continue;
    }
    num_tokens += 1.0;
    for (std::size_t e = 0; e < probs.size(); ++e) {
      prob_sum[e] += probs[e];
      count[e] += token.chosen[e] ? 1.0 : 0.0;
      num_rows += token.chosen[e] ? 1.0 : 0.0;
    }
  }
  if (num_tokens == 0.0 || num_rows == 0.0) {
    return 0.0;
  }
  double balance = 0.0;
  for (std::size_t e = 0; e < count.size(); ++e) {
    const double f = count[e] / (by_assignments ? num_rows : num_tokens);
    const double q = prob_sum[e] / num_tokens;
    balance += f * q;
  }
  return num_tokens * static_cast<double>(count.size()) * balance;
}

inline DefinedLosses losses_by_definition(const DefinedStep& step, const std::string& scope,
                                          const std::string& normalize) {
  const bool by_assignments = normalize == "assignments";
  double step_tokens = 0.0;
  DefinedLosses losses;
  for (const DefinedMicroStep& micro_step : step) {
    std::vector<DefinedToken> all_ranks;
    for (const DefinedBatch& batch : micro_step) {
      std::vector<DefinedToken> rank;
      for (const DefinedSequence& sequence : batch) {
        rank.insert(rank.end(), sequence.begin(), sequence.end());
        if (scope == "sequence") {
          losses.load_balance += balance_times_tokens(sequence, by_assignments);
        }
      }
      all_ranks.insert(all_ranks.end(), rank.begin(), rank.end());
      if (scope == "local") {
        losses.load_balance += balance_times_tokens(rank, by_assignments);
      }
    }
    if (scope == "global") {
      losses.load_balance += balance_times_tokens(all_ranks, by_assignments);
    }
    for (const DefinedToken& token : all_ranks) {
      if (!token.valid) {
        continue;
      }
      step_tokens += 1.0;
      double sum_exp = 0.0;
      for (const double logit : token.logits) {
        sum_exp += std::exp(logit);
      }
      losses.z += std::log(sum_exp) * std::log(sum_exp);
      for (const double prob : softmax(token.logits)) {
        losses.dynamic -= prob * std::log(prob);
      }
    }
  }
  losses.load_balance /= step_tokens;
  losses.dynamic /= step_tokens;
  losses.z /= step_tokens;
  return losses;
}

}  // namespace switchyard::routing::testing
