// Both steps of a route and its gradient. The choice of a token may differ from the CPU's where the
// cumulative probability meets the target to rounding; everything after it is exact.
#include <optional>

#include "cuda/launch.cuh"
#include "kernels/cuda/parity.h"
#include "kernels/route_reference.h"
#include "switchyard/core/error.h"
#include "switchyard/kernels/host_waits.h"
#include "switchyard/kernels/route_backward.h"

namespace switchyard::kernels::testing {
namespace {

template <typename T>
class RouteOnGpu : public ::testing::Test {};
TYPED_TEST_SUITE(RouteOnGpu, LogitTypes);

// The input's arrays on the device.
template <typename T>
struct DeviceInput {
  const RouteInput<T>& input;
  DeviceBuffer<T> logits_TE;
  DeviceBuffer<bool> valid_T;
  DeviceBuffer<std::int32_t> sequence_offset_B1;

  explicit DeviceInput(const RouteInput<T>& host)
      : input(host),
        logits_TE(host.logits_TE),
        valid_T(host.valid_T),
        sequence_offset_B1(host.sequence_offset_B1) {}
  [[nodiscard]] RouteLogits<T> logits() const {
    return {.num_tokens = input.num_tokens(),
            .num_experts = input.num_experts,
            .logits_TE = logits_TE.data(),
            .valid_T = input.valid_T.empty() ? nullptr : valid_T.data()};
  }
};

// One of the two rules of choice.
struct Rule {
  std::optional<double> p;
  std::int64_t limit = 0;  // k, or max_experts
  std::vector<std::int32_t> k_T = {};
};

template <typename T>
RouteArrays<T> route_on_cpu(const RouteInput<T>& input, const Rule& rule) {
  return rule.p ? run_top_p(input, *rule.p, rule.limit) : run_top_k(input, rule.limit, rule.k_T);
}

template <typename T>
RouteArrays<T> route_on_gpu(const RouteInput<T>& input, const Rule& rule) {
  const DeviceInput<T> device(input);
  const std::int64_t num_tokens = input.num_tokens();
  const std::int64_t num_experts = input.num_experts;
  const auto num_sequences = std::ssize(input.sequence_offset_B1) - 1;
  constexpr T kNaN = std::numeric_limits<T>::quiet_NaN();
  const DeviceBuffer<T> softmax_T2(2 * num_tokens, kNaN);
  const DeviceBuffer<std::int32_t> last_expert_T(num_tokens, -7);
  const DeviceBuffer<std::int32_t> token_offset_T1(num_tokens + 1, -7);
  const RouteChoice<T> choice{softmax_T2.data(), last_expert_T.data(), token_offset_T1.data()};
  const DeviceBuffer<std::int32_t> k_T(rule.k_T);
  const std::int64_t num_rows =
      rule.p
          ? cuda::top_p_route(
                TopPRouteParams<T>{
                    .in = device.logits(), .p = *rule.p, .max_experts = rule.limit, .out = choice},
                test_stream())
          : cuda::top_k_route(TopKRouteParams<T>{.in = device.logits(),
                                                 .k = rule.limit,
                                                 .k_T = rule.k_T.empty() ? nullptr : k_T.data(),
                                                 .out = choice},
                              test_stream());
  const DeviceBuffer<std::int32_t> expert_offset_E1(num_experts + 1, -7);
  const DeviceBuffer<std::int32_t> row_token_N(num_rows, -7);
  const DeviceBuffer<std::int32_t> token_row_N(num_rows, -7);
  const DeviceBuffer<T> row_weight_N(num_rows, kNaN);
  const DeviceBuffer<std::int64_t> count_BE(num_sequences * num_experts, -7);
  const DeviceBuffer<std::int64_t> num_tokens_B(num_sequences, -7);
  const DeviceBuffer<std::int64_t> k_histogram_E1(num_experts + 1, -7);
  const DeviceBuffer<T> prob_sum_BE(num_sequences * num_experts, kNaN);
  const DeviceBuffer<T> entropy_sum(1, kNaN);
  const DeviceBuffer<T> z_sum(1, kNaN);
  cuda::route_rows(RouteRowsParams<T>{.in = device.logits(),
                                      .choice = choice,
                                      .renormalize = input.renormalize,
                                      .num_sequences = num_sequences,
                                      .sequence_offset_B1 = device.sequence_offset_B1.data(),
                                      .expert_offset_E1 = expert_offset_E1.data(),
                                      .row_token_N = row_token_N.data(),
                                      .token_row_N = token_row_N.data(),
                                      .row_weight_N = row_weight_N.data(),
                                      .count_BE = count_BE.data(),
                                      .num_tokens_B = num_tokens_B.data(),
                                      .k_histogram_E1 = k_histogram_E1.data(),
                                      .prob_sum_BE = prob_sum_BE.data(),
                                      .entropy_sum = entropy_sum.data(),
                                      .z_sum = z_sum.data()},
                   test_stream());
  return {.softmax_T2 = softmax_T2.host(),
          .last_expert_T = last_expert_T.host(),
          .token_offset_T1 = token_offset_T1.host(),
          .expert_offset_E1 = expert_offset_E1.host(),
          .row_token_N = row_token_N.host(),
          .token_row_N = token_row_N.host(),
          .row_weight_N = row_weight_N.host(),
          .count_BE = count_BE.host(),
          .num_tokens_B = num_tokens_B.host(),
          .k_histogram_E1 = k_histogram_E1.host(),
          .prob_sum_BE = prob_sum_BE.host(),
          .entropy_sum = entropy_sum.host()[0],
          .z_sum = z_sum.host()[0]};
}

template <typename T>
void expect_same_bits(const RouteArrays<T>& a, const RouteArrays<T>& b) {
  EXPECT_TRUE(same_bits(a.softmax_T2, b.softmax_T2));
  EXPECT_EQ(a.row_token_N, b.row_token_N);
  EXPECT_EQ(a.token_row_N, b.token_row_N);
  EXPECT_TRUE(same_bits(a.row_weight_N, b.row_weight_N));
  EXPECT_TRUE(same_bits(a.prob_sum_BE, b.prob_sum_BE));
  EXPECT_TRUE(same_bits<T>({a.entropy_sum, a.z_sum}, {b.entropy_sum, b.z_sum}));
}

// Everything is judged by the definition, as the CPU kernels are; the number of experts of each
// token must be the CPU's unless the sum of the fewer experts meets the target to rounding.
template <typename T>
void expect_parity(const RouteInput<T>& input, const Rule& rule) {
  const RouteArrays<T> expected = route_on_cpu(input, rule);
  const RouteArrays<T> actual = route_on_gpu(input, rule);
  expect_route<T>(
      input, actual,
      [&](std::int64_t t, std::int64_t count, const std::vector<std::int32_t>& order,
          const std::vector<double>& probs) {
        const auto i = static_cast<std::size_t>(t);
        const std::int64_t on_cpu = expected.token_offset_T1[i + 1] - expected.token_offset_T1[i];
        if (count == on_cpu) return;
        ASSERT_TRUE(rule.p.has_value()) << "token " << t;
        double sum = 0;
        for (std::int64_t j = 0; j < std::min(count, on_cpu); ++j) {
          sum += probs[static_cast<std::size_t>(order[static_cast<std::size_t>(j)])];
        }
        EXPECT_NEAR(sum, *rule.p, tolerance<T>())
            << "token " << t << " has " << count << " experts, " << on_cpu << " on the CPU";
      });
  expect_same_bits(actual, route_on_gpu(input, rule));
}

// As random_route_input, but few tokens: every thread of the simulated GPU costs time.
template <typename T>
RouteInput<T> small_input(std::mt19937& random, std::int64_t num_experts, std::int64_t num_tokens) {
  RouteInput<T> input;
  input.num_experts = num_experts;
  const auto cut = static_cast<std::int32_t>(num_tokens / 3);
  input.sequence_offset_B1 = {0, cut, cut, static_cast<std::int32_t>(num_tokens)};
  const bool on_grid = random() % 2 == 0;  // ties
  std::normal_distribution<double> normal(0.0, 1.5);
  for (std::int64_t i = 0; i < num_tokens * num_experts; ++i) {
    const double value = normal(random);
    input.logits_TE.push_back(static_cast<T>(on_grid ? std::round(2 * value) / 2 : value));
  }
  if (random() % 2 == 0) {
    for (std::int64_t t = 0; t < num_tokens; ++t) {
      input.valid_T.push_back(random() % 4 != 0 ? 1 : 0);
    }
  }
  input.renormalize = random() % 2 == 0;
  return input;
}

struct Size {
  std::int64_t num_experts;
  std::int64_t num_tokens;
};
// More tokens than a block of the sort and a tile of the scan have; experts for one, two and four
// per lane and for the path by blocks.
const std::vector<Size> kSizes{{1, 40},  {2, 0},    {8, 1100}, {17, 300}, {32, 33},
                               {64, 70}, {100, 20}, {128, 9},  {129, 5},  {256, 12}};

TYPED_TEST(RouteOnGpu, ChoosesTopPAsTheCpuDoes) {
  std::mt19937 random(11);
  for (const auto [num_experts, num_tokens] : kSizes) {
    for (const double p : {0.3, 0.8, 1.0}) {
      const auto input = small_input<TypeParam>(random, num_experts, num_tokens);
      expect_parity(input, {.p = p, .limit = p == 0.8 ? (num_experts + 1) / 2 : num_experts});
    }
  }
}

// Where the kernels' own shared memory and what is asked for by E cross 48 KiB together: the rows'
// place at 2355 to 2457 experts, the choice among more than 4088 in fp32.
TYPED_TEST(RouteOnGpu, TakesNumbersOfExpertsWhoseSharedMemoryIsAtTheLimit) {
  std::mt19937 random(14);
  for (const std::int64_t num_experts : {2355, 2457, 4089}) {
    expect_parity(small_input<TypeParam>(random, num_experts, 2), {.p = 0.1, .limit = 4});
  }
}

TYPED_TEST(RouteOnGpu, ChoosesTopKFromNoneToAllExperts) {
  std::mt19937 random(12);
  for (const auto [num_experts, num_tokens] : kSizes) {
    for (const std::int64_t k : {std::int64_t{0}, std::int64_t{1}, num_experts / 2, num_experts}) {
      expect_parity(small_input<TypeParam>(random, num_experts, num_tokens), {.p = {}, .limit = k});
    }
    Rule per_token{.p = {}};
    for (std::int64_t t = 0; t < num_tokens; ++t) {  // also out of range: clamped
      per_token.k_T.push_back(static_cast<std::int32_t>(random() % 9) - 2);
    }
    expect_parity(small_input<TypeParam>(random, num_experts, num_tokens), per_token);
  }
}

// ops/route_chosen asks so for any choice: the chosen experts' logits are 1, the others' 0.
TYPED_TEST(RouteOnGpu, ChoosesTheExpertsThatAMatrixOfOnesNames) {
  std::mt19937 random(16);
  for (const auto [num_experts, num_tokens] : kSizes) {
    auto input = small_input<TypeParam>(random, num_experts, num_tokens);
    Rule rule{.p = {}};
    for (std::int64_t t = 0; t < num_tokens; ++t) {
      const auto density = random() % 5;  // of 4: none to all experts of the token
      std::int32_t k = 0;
      for (std::int64_t e = 0; e < num_experts; ++e) {
        const bool chosen = random() % 4 < density;
        input.logits_TE[static_cast<std::size_t>(t * num_experts + e)] =
            static_cast<TypeParam>(chosen ? 1 : 0);
        k += chosen ? 1 : 0;
      }
      rule.k_T.push_back(k);
    }
    expect_parity(input, rule);
  }
}

TYPED_TEST(RouteOnGpu, OneExpertMayTakeEveryToken) {
  for (const std::int64_t num_experts : {16, 200}) {
    constexpr std::int64_t kTokens = 300;
    std::vector<TypeParam> logits(static_cast<std::size_t>(kTokens * num_experts), TypeParam{0});
    for (std::int64_t t = 0; t < kTokens; ++t) {
      logits[static_cast<std::size_t>(t * num_experts + 5)] = TypeParam{9};
    }
    expect_parity(one_sequence<TypeParam>(num_experts, logits), {.p = 0.9, .limit = num_experts});
  }
}

TYPED_TEST(RouteOnGpu, CutsEqualProbabilitiesExactly) {
  // Four equal logits have probabilities of exactly a quarter.
  const auto input = one_sequence<TypeParam>(4, std::vector<TypeParam>(4, TypeParam{1}));
  const double half = 0.5;
  const auto count = [&](double p) {
    return route_on_gpu(input, {.p = p, .limit = 4}).row_token_N.size();
  };
  EXPECT_EQ(count(static_cast<double>(std::nextafter(TypeParam{0.5}, TypeParam{0}))), 2U);
  EXPECT_EQ(count(half), 2U);
  EXPECT_EQ(count(static_cast<double>(std::nextafter(TypeParam{0.5}, TypeParam{1}))), 3U);
}

TYPED_TEST(RouteOnGpu, GivesAValidRoutingForAnyBits) {
  std::mt19937 random(13);
  for (const auto [num_experts, num_tokens] : kSizes) {
    for (int trial = 0; trial < 2; ++trial) {
      auto input =
          small_input<TypeParam>(random, num_experts, std::min<std::int64_t>(num_tokens, 60));
      add_extreme_values(input, random);
      const Rule rule{.p = trial == 0 ? std::optional<double>(0.6) : std::nullopt,
                      .limit = std::min<std::int64_t>(3, num_experts)};
      const auto expected = route_on_cpu(input, rule);
      const auto actual = route_on_gpu(input, rule);
      EXPECT_EQ(actual.token_offset_T1, expected.token_offset_T1);
      EXPECT_EQ(actual.expert_offset_E1, expected.expert_offset_E1);
      EXPECT_EQ(actual.row_token_N, expected.row_token_N);
      EXPECT_EQ(actual.token_row_N, expected.token_row_N);
      EXPECT_EQ(actual.count_BE, expected.count_BE);
      EXPECT_EQ(actual.k_histogram_E1, expected.k_histogram_E1);
      expect_close(actual.row_weight_N, expected.row_weight_N, "weights");
    }
  }
}

// The number of rows is all that the host must know; a replayed route asks for the softmax alone.
TYPED_TEST(RouteOnGpu, WaitsForTheDeviceOncePerRouteAndNotForAReplay) {
  std::mt19937 random(14);
  const auto input = small_input<TypeParam>(random, 8, 20);
  const auto num_waits = [&](const Rule& rule) {
    const std::int64_t before = cuda::num_host_synchronizations();
    route_on_gpu(input, rule);
    return cuda::num_host_synchronizations() - before;
  };
  EXPECT_EQ(num_waits({.p = 0.5, .limit = 8}), 1);
  EXPECT_EQ(num_waits({.p = {}, .limit = 2}), 1);
  EXPECT_EQ(num_waits({.p = {}, .limit = 0}), 0);
}

TEST(RouteOnGpuLimits, TooManyExpertsAreAUsageError) {
  EXPECT_THROW(
      route_on_gpu(one_sequence<float>(5000, std::vector<float>(5000)), {.p = 0.5, .limit = 5000}),
      UsageError);
}

TYPED_TEST(RouteOnGpu, GradientIsTheCpus) {
  using T = TypeParam;
  std::mt19937 random(15);
  for (const auto [num_experts, num_tokens] : kSizes) {
    for (const bool everything : {true, false}) {  // false: only one gradient comes in
      const auto input =
          small_input<T>(random, num_experts, std::min<std::int64_t>(num_tokens, 90));
      const auto route = run_top_p(input, 0.7);
      const auto num_sequences = std::ssize(input.sequence_offset_B1) - 1;
      const auto grad_weight = random_values<T>(std::ssize(route.row_weight_N), 1);
      const auto grad_prob_sum = random_values<T>(num_sequences * num_experts, 2);
      const std::vector<T> grad_scalars{T{0.25}, T{-0.5}};
      std::vector<T> expected(input.logits_TE.size(), not_a_number<T>());
      const std::unique_ptr<bool[]> valid(new bool[input.valid_T.size() + 1]);
      std::copy(input.valid_T.begin(), input.valid_T.end(), valid.get());
      RouteBackwardParams<T> params{
          .in = {.num_tokens = input.num_tokens(),
                 .num_experts = num_experts,
                 .logits_TE = input.logits_TE.data(),
                 .valid_T = input.valid_T.empty() ? nullptr : valid.get()},
          .softmax_T2 = route.softmax_T2.data(),
          .renormalize = input.renormalize,
          .num_sequences = num_sequences,
          .sequence_offset_B1 = input.sequence_offset_B1.data(),
          .expert_offset_E1 = route.expert_offset_E1.data(),
          .token_offset_T1 = route.token_offset_T1.data(),
          .token_row_N = route.token_row_N.data(),
          .grad_row_weight_N = grad_weight.data(),
          .grad_prob_sum_BE = everything ? grad_prob_sum.data() : nullptr,
          .grad_entropy_sum = everything ? grad_scalars.data() : nullptr,
          .grad_z_sum = everything ? grad_scalars.data() + 1 : nullptr,
          .grad_logits_TE = expected.data()};
      cpu::route_backward(params);

      const DeviceInput<T> device(input);
      const DeviceBuffer<T> softmax_T2(route.softmax_T2);
      const DeviceBuffer<std::int32_t> expert_offset(route.expert_offset_E1);
      const DeviceBuffer<std::int32_t> token_offset(route.token_offset_T1);
      const DeviceBuffer<std::int32_t> token_row(route.token_row_N);
      const DeviceBuffer<T> device_grad_weight(grad_weight);
      const DeviceBuffer<T> device_grad_prob_sum(grad_prob_sum);
      const DeviceBuffer<T> device_grad_scalars(grad_scalars);
      const DeviceBuffer<T> grad_logits(std::ssize(expected), not_a_number<T>());
      params.in = device.logits();
      params.softmax_T2 = softmax_T2.data();
      params.sequence_offset_B1 = device.sequence_offset_B1.data();
      params.expert_offset_E1 = expert_offset.data();
      params.token_offset_T1 = token_offset.data();
      params.token_row_N = token_row.data();
      params.grad_row_weight_N = device_grad_weight.data();
      if (everything) {
        params.grad_prob_sum_BE = device_grad_prob_sum.data();
        params.grad_entropy_sum = device_grad_scalars.data();
        params.grad_z_sum = device_grad_scalars.data() + 1;
      }
      params.grad_logits_TE = grad_logits.data();
      cuda::route_backward(params, test_stream());
      expect_close(grad_logits.host(), expected, "E=" + std::to_string(num_experts));
    }
  }
}

}  // namespace
}  // namespace switchyard::kernels::testing
