// What the files of the router contract suite share: the parameterised fixture and comparisons.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "routing/router_cases.h"
#include "routing/routing_fixture.h"

namespace switchyard::routing::testing {

class RouterContract : public ::testing::TestWithParam<RouterCase> {
 protected:
  [[nodiscard]] static std::unique_ptr<Router> build(at::ScalarType compute = at::kFloat) {
    std::unique_ptr<Router> router = build_router(GetParam().config, GetParam().causal, compute);
    train(*router, GetParam().steps_before);
    return router;
  }
};

inline std::vector<at::Tensor> all_tensors(const RouteResult& result) {
  std::vector<at::Tensor> tensors = {result.routing.expert_offset_E1,
                                     result.routing.row_token_N,
                                     result.routing.token_offset_T1,
                                     result.routing.token_row_N,
                                     result.routing.row_weight_N,
                                     result.sums.count_BE,
                                     result.sums.num_tokens_B,
                                     result.sums.k_histogram_E1,
                                     result.sums.prob_sum_BE,
                                     result.sums.entropy_sum,
                                     result.sums.z_sum};
  if (result.sums.weight_sum_E.defined()) tensors.push_back(result.sums.weight_sum_E);
  for (const auto& [name, value] : result.sums.named) {
    tensors.push_back(value);
  }
  return tensors;
}

inline void expect_same_bits(const RouteResult& a, const RouteResult& b) {
  const std::vector<at::Tensor> left = all_tensors(a);
  const std::vector<at::Tensor> right = all_tensors(b);
  ASSERT_EQ(left.size(), right.size());
  for (std::size_t i = 0; i < left.size(); ++i) {
    EXPECT_TRUE(same_bits(left[i], right[i])) << "tensor " << i << " of the result differs";
  }
}

inline void expect_same_state(const Router& a, const Router& b) {
  const auto left = a.state();
  const auto right = b.state();
  ASSERT_EQ(left.size(), right.size());
  for (const auto& [name, value] : left) {
    ASSERT_TRUE(right.contains(name));
    EXPECT_TRUE(same_bits(value, right.at(name))) << name;
  }
}

// Exact, so for a change elsewhere that must not be felt.
inline void expect_same_choices(const ops::Routing& a, const ops::Routing& b, std::int64_t begin,
                                std::int64_t end) {
  const auto left = choices(a);
  const auto right = choices(b);
  for (std::int64_t token = begin; token < end; ++token) {
    const auto& before = left[static_cast<std::size_t>(token)];
    const auto& after = right[static_cast<std::size_t>(token)];
    ASSERT_EQ(before.size(), after.size()) << "token " << token;
    for (std::size_t i = 0; i < before.size(); ++i) {
      EXPECT_EQ(before[i].expert, after[i].expert) << "token " << token;
      EXPECT_EQ(before[i].weight, after[i].weight) << "token " << token;
    }
  }
}

}  // namespace switchyard::routing::testing
