// Runs the two steps of a route on host vectors and judges the result by the definition: sort each
// token's experts, cut, list the pairs. Everything is recomputed in double, one token at a time.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <numeric>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "switchyard/kernels/route.h"
#include "switchyard/kernels/route_rows.h"
#include "switchyard/kernels/top_k_route.h"
#include "switchyard/kernels/top_p_route.h"

namespace switchyard::kernels::testing {

template <typename T>
struct RouteInput {
  std::int64_t num_experts = 1;
  std::vector<T> logits_TE;
  std::vector<char> valid_T;  // empty: all valid
  std::vector<std::int32_t> sequence_offset_B1;
  bool renormalize = false;

  [[nodiscard]] std::int64_t num_tokens() const { return sequence_offset_B1.back(); }
  [[nodiscard]] bool is_valid(std::int64_t t) const {
    return valid_T.empty() || valid_T[static_cast<std::size_t>(t)] != 0;
  }
  [[nodiscard]] std::vector<T> logits_of(std::int64_t t) const {
    const auto begin = logits_TE.begin() + t * num_experts;
    return {begin, begin + num_experts};
  }
};

template <typename T>
RouteInput<T> one_sequence(std::int64_t num_experts, std::vector<T> logits_TE) {
  RouteInput<T> input;
  input.num_experts = num_experts;
  input.logits_TE = std::move(logits_TE);
  input.sequence_offset_B1 = {
      0,
      static_cast<std::int32_t>(static_cast<std::int64_t>(input.logits_TE.size()) / num_experts)};
  return input;
}

template <typename T>
struct RouteArrays {
  std::vector<T> softmax_T2;
  std::vector<std::int32_t> last_expert_T, token_offset_T1;
  std::vector<std::int32_t> expert_offset_E1, row_token_N, token_row_N;
  std::vector<T> row_weight_N;
  std::vector<std::int64_t> count_BE, num_tokens_B, k_histogram_E1;
  std::vector<T> prob_sum_BE;
  T entropy_sum = 0, z_sum = 0;

  [[nodiscard]] std::vector<std::int32_t> experts_of(std::int64_t t) const {
    std::vector<std::int32_t> experts;
    for (auto i = token_offset_T1[static_cast<std::size_t>(t)];
         i < token_offset_T1[static_cast<std::size_t>(t + 1)]; ++i) {
      const auto row = token_row_N[static_cast<std::size_t>(i)];
      const auto next = std::upper_bound(expert_offset_E1.begin(), expert_offset_E1.end(), row);
      experts.push_back(static_cast<std::int32_t>(next - expert_offset_E1.begin()) - 1);
    }
    return experts;
  }
  [[nodiscard]] std::vector<T> weights_of(std::int64_t t) const {
    std::vector<T> weights;
    for (auto i = token_offset_T1[static_cast<std::size_t>(t)];
         i < token_offset_T1[static_cast<std::size_t>(t + 1)]; ++i) {
      weights.push_back(
          row_weight_N[static_cast<std::size_t>(token_row_N[static_cast<std::size_t>(i)])]);
    }
    return weights;
  }
};

// `choose` is the first step: (logits, where to put the choice) -> N.
template <typename T, typename Choose>
RouteArrays<T> run_route(const RouteInput<T>& input, const Choose& choose) {
  const auto num_tokens = static_cast<std::size_t>(input.num_tokens());
  const auto num_experts = static_cast<std::size_t>(input.num_experts);
  const std::size_t num_sequences = input.sequence_offset_B1.size() - 1;
  const std::unique_ptr<bool[]> valid(new bool[num_tokens + 1]);
  for (std::size_t t = 0; t < num_tokens; ++t)
    valid[t] = input.is_valid(static_cast<std::int64_t>(t));
  const RouteLogits<T> in{.num_tokens = input.num_tokens(),
                          .num_experts = input.num_experts,
                          .logits_TE = input.logits_TE.data(),
                          .valid_T = input.valid_T.empty() ? nullptr : valid.get()};
  constexpr T kNaN = std::numeric_limits<T>::quiet_NaN();
  RouteArrays<T> out;
  out.softmax_T2.assign(2 * num_tokens, kNaN);
  out.last_expert_T.assign(num_tokens, -7);
  out.token_offset_T1.assign(num_tokens + 1, -7);
  const RouteChoice<T> choice{.softmax_T2 = out.softmax_T2.data(),
                              .last_expert_T = out.last_expert_T.data(),
                              .token_offset_T1 = out.token_offset_T1.data()};
  const auto num_rows = static_cast<std::size_t>(choose(in, choice));
  out.expert_offset_E1.assign(num_experts + 1, -7);
  out.row_token_N.assign(num_rows, -7);
  out.token_row_N.assign(num_rows, -7);
  out.row_weight_N.assign(num_rows, T{-7});
  out.count_BE.assign(num_sequences * num_experts, -7);
  out.num_tokens_B.assign(num_sequences, -7);
  out.k_histogram_E1.assign(num_experts + 1, -7);
  out.prob_sum_BE.assign(num_sequences * num_experts, T{-7});
  route_rows_on_cpu<T>(in, choice, input, out);
  return out;
}

template <typename T>
void route_rows_on_cpu(const RouteLogits<T>& in, const RouteChoice<T>& choice,
                       const RouteInput<T>& input, RouteArrays<T>& out) {
  cpu::route_rows(RouteRowsParams<T>{
      .in = in,
      .choice = choice,
      .renormalize = input.renormalize,
      .num_sequences = static_cast<std::int64_t>(input.sequence_offset_B1.size()) - 1,
      .sequence_offset_B1 = input.sequence_offset_B1.data(),
      .expert_offset_E1 = out.expert_offset_E1.data(),
      .row_token_N = out.row_token_N.data(),
      .token_row_N = out.token_row_N.data(),
      .row_weight_N = out.row_weight_N.data(),
      .count_BE = out.count_BE.data(),
      .num_tokens_B = out.num_tokens_B.data(),
      .k_histogram_E1 = out.k_histogram_E1.data(),
      .prob_sum_BE = out.prob_sum_BE.data(),
      .entropy_sum = &out.entropy_sum,
      .z_sum = &out.z_sum});
}

template <typename T>
RouteArrays<T> run_top_p(const RouteInput<T>& input, double p,
                         std::optional<std::int64_t> max_experts = {}) {
  return run_route(input, [&](const RouteLogits<T>& in, const RouteChoice<T>& choice) {
    return cpu::top_p_route(TopPRouteParams<T>{
        .in = in, .p = p, .max_experts = max_experts.value_or(input.num_experts), .out = choice});
  });
}

template <typename T>
RouteArrays<T> run_top_k(const RouteInput<T>& input, std::int64_t k,
                         const std::vector<std::int32_t>& k_T = {}) {
  return run_route(input, [&](const RouteLogits<T>& in, const RouteChoice<T>& choice) {
    return cpu::top_k_route(TopKRouteParams<T>{
        .in = in, .k = k, .k_T = k_T.empty() ? nullptr : k_T.data(), .out = choice});
  });
}

// A token's experts by descending logit, ties by id, NaN last.
template <typename T>
std::vector<std::int32_t> sorted_experts(const std::vector<T>& logits_E) {
  std::vector<std::int32_t> order(logits_E.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
    const T x = logits_E[static_cast<std::size_t>(a)];
    const T y = logits_E[static_cast<std::size_t>(b)];
    if (std::isnan(x) || std::isnan(y)) return !std::isnan(x) && std::isnan(y);
    return x > y;
  });
  return order;
}

// NaN everywhere if any logit is NaN or +Inf, or none is finite.
template <typename T>
std::vector<double> softmax_in_double(const std::vector<T>& logits_E) {
  double max = -std::numeric_limits<double>::infinity();
  for (const T logit : logits_E) max = std::max(max, static_cast<double>(logit));
  std::vector<double> probs;
  double sum = 0;
  for (const T logit : logits_E) {
    probs.push_back(std::exp(static_cast<double>(logit) - max));
    sum += probs.back();
  }
  for (double& prob : probs) prob /= sum;
  return probs;
}

// NaN equals NaN here; otherwise within rtol of the reference or atol of it.
inline void expect_close(double actual, double expected, double rtol, double atol,
                         const std::string& what) {
  if (std::isnan(expected)) {
    EXPECT_TRUE(std::isnan(actual)) << what << " is " << actual << ", expected NaN";
  } else {
    EXPECT_LE(std::abs(actual - expected), atol + rtol * std::abs(expected))
        << what << " is " << actual << ", expected " << expected;
  }
}

// Checks everything but the number of experts per token, which `check_count(t, count, order,
// probs)` judges for valid tokens that have a finite logit.
using CountCheck = std::function<void(std::int64_t, std::int64_t, const std::vector<std::int32_t>&,
                                      const std::vector<double>&)>;

template <typename T>
void expect_route(const RouteInput<T>& input, const RouteArrays<T>& out,
                  const CountCheck& check_count) {
  const double rtol = sizeof(T) == 4 ? 1e-5 : 1e-12;
  const std::int64_t num_experts = input.num_experts;
  const auto at = [](std::int64_t i) { return static_cast<std::size_t>(i); };
  std::vector<std::vector<std::int32_t>> tokens_of_expert(at(num_experts));
  std::vector<std::int64_t> k_histogram_E1(at(num_experts + 1), 0);
  double entropy = 0, z = 0, z_scale = 1e-30;
  for (std::size_t b = 0; b + 1 < input.sequence_offset_B1.size(); ++b) {
    std::vector<std::int64_t> count_E(at(num_experts), 0);
    std::vector<double> prob_sum_E(at(num_experts), 0.0);
    std::int64_t num_tokens = 0;
    for (std::int64_t t = input.sequence_offset_B1[b]; t < input.sequence_offset_B1[b + 1]; ++t) {
      const std::vector<std::int32_t> experts = out.experts_of(t);
      const auto count = static_cast<std::int64_t>(experts.size());
      if (!input.is_valid(t)) {
        EXPECT_EQ(count, 0) << "padding token " << t;
        continue;
      }
      const std::vector<T> logits_E = input.logits_of(t);
      const std::vector<double> probs = softmax_in_double(logits_E);
      std::vector<std::int32_t> order = sorted_experts(logits_E);
      if (std::any_of(logits_E.begin(), logits_E.end(), [](T l) { return std::isfinite(l); })) {
        check_count(t, count, order, probs);
      } else {
        EXPECT_LE(count, 1) << "token " << t << " without a finite logit";
        order = {0};
      }
      ASSERT_LE(count, num_experts);
      std::vector<std::int32_t> expected(order.begin(), order.begin() + count);
      std::sort(expected.begin(), expected.end());
      EXPECT_EQ(experts, expected) << "experts of token " << t;
      double chosen_sum = 0;
      for (const auto e : expected) chosen_sum += probs[at(e)];
      const std::vector<T> weights = out.weights_of(t);
      for (std::size_t i = 0; i < expected.size(); ++i) {
        const double prob = probs[at(expected[i])];
        expect_close(static_cast<double>(weights[i]), input.renormalize ? prob / chosen_sum : prob,
                     rtol, 1e-37, "weight of token " + std::to_string(t));
        tokens_of_expert[at(expected[i])].push_back(static_cast<std::int32_t>(t));
        ++count_E[at(expected[i])];
      }
      ++k_histogram_E1[at(count)];
      ++num_tokens;
      double max = -std::numeric_limits<double>::infinity();
      for (const T logit : logits_E) max = std::max(max, static_cast<double>(logit));
      double sum = 0;
      for (std::int64_t e = 0; e < num_experts; ++e) {
        prob_sum_E[at(e)] += probs[at(e)];
        if (probs[at(e)] != 0) entropy -= probs[at(e)] * std::log(probs[at(e)]);
        sum += std::exp(static_cast<double>(logits_E[at(e)]) - max);
      }
      const double log_sum_exp = max + std::log(sum);
      z += log_sum_exp * log_sum_exp;
      z_scale = std::max(z_scale, max * max);
    }
    EXPECT_EQ(out.num_tokens_B[b], num_tokens) << "sequence " << b;
    for (std::int64_t e = 0; e < num_experts; ++e) {
      const std::size_t i = b * at(num_experts) + at(e);
      EXPECT_EQ(out.count_BE[i], count_E[at(e)]) << "sequence " << b << " expert " << e;
      expect_close(static_cast<double>(out.prob_sum_BE[i]), prob_sum_E[at(e)], rtol, 1e-30,
                   "probability sum of expert " + std::to_string(e));
    }
  }
  EXPECT_EQ(out.k_histogram_E1, k_histogram_E1);
  expect_close(static_cast<double>(out.entropy_sum), entropy, rtol,
               rtol * static_cast<double>(input.num_tokens()), "entropy sum");
  expect_close(static_cast<double>(out.z_sum), z, rtol, rtol * z_scale, "z sum");

  std::vector<std::int32_t> expert_offset_E1{0};
  std::vector<std::int32_t> row_token_N;
  for (const auto& tokens : tokens_of_expert) {
    row_token_N.insert(row_token_N.end(), tokens.begin(), tokens.end());
    expert_offset_E1.push_back(static_cast<std::int32_t>(row_token_N.size()));
  }
  EXPECT_EQ(out.expert_offset_E1, expert_offset_E1);
  EXPECT_EQ(out.row_token_N, row_token_N);
  EXPECT_EQ(out.token_offset_T1.back(), static_cast<std::int32_t>(row_token_N.size()));
}

// Random logits with ties (a coarse grid), over sequences of which some are empty and a share of
// padding tokens.
template <typename T>
RouteInput<T> random_route_input(std::mt19937& random, std::int64_t num_experts, double scale) {
  RouteInput<T> input;
  input.num_experts = num_experts;
  input.sequence_offset_B1 = {0};
  const auto num_sequences = random() % 5 + 1;
  for (unsigned long b = 0; b < num_sequences; ++b) {
    const std::int32_t length =
        random() % 3 == 0 ? 0 : static_cast<std::int32_t>(random() % (num_experts > 64 ? 40 : 700));
    input.sequence_offset_B1.push_back(input.sequence_offset_B1.back() + length);
  }
  std::normal_distribution<double> normal(0.0, scale);
  const bool on_grid = random() % 2 == 0;
  for (std::int64_t i = 0; i < input.num_tokens() * num_experts; ++i) {
    const double value = normal(random);
    input.logits_TE.push_back(static_cast<T>(on_grid ? std::round(2 * value) / 2 : value));
  }
  if (random() % 2 == 0) {
    for (std::int64_t t = 0; t < input.num_tokens(); ++t) {
      input.valid_T.push_back(random() % 4 != 0 ? 1 : 0);
    }
  }
  input.renormalize = random() % 2 == 0;
  return input;
}

// Puts NaN, infinities, huge values and signed zeros into a share of the logits.
template <typename T>
void add_extreme_values(RouteInput<T>& input, std::mt19937& random) {
  constexpr T kInf = std::numeric_limits<T>::infinity();
  const std::vector<T> extremes{std::numeric_limits<T>::quiet_NaN(),
                                kInf,
                                -kInf,
                                std::numeric_limits<T>::max(),
                                std::numeric_limits<T>::lowest(),
                                std::numeric_limits<T>::denorm_min(),
                                T{0},
                                -T{0}};
  for (std::int64_t t = 0; t < input.num_tokens(); ++t) {
    const auto share = random() % 4;  // of four: none, few, half, all
    for (std::int64_t e = 0; e < input.num_experts; ++e) {
      const bool replace =
          share == 3 || (share == 2 && random() % 2 == 0) || (share == 1 && random() % 8 == 0);
      if (replace) {
        input.logits_TE[static_cast<std::size_t>(t * input.num_experts + e)] =
            extremes[random() % extremes.size()];
      }
    }
  }
}

}  // namespace switchyard::kernels::testing
