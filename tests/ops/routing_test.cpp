#include "switchyard/ops/routing.h"

#include <ATen/ops/ones.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "ops/route_support.h"
#include "switchyard/core/error.h"

namespace switchyard::ops::testing {
namespace {

// Token 0 -> experts 0, 2; token 1 -> expert 2; token 2 -> none.
Routing valid_routing() {
  return {.num_tokens = 3,
          .num_experts = 3,
          .expert_offset_E1 = int32_tensor({0, 1, 1, 3}),
          .row_token_N = int32_tensor({0, 0, 1}),
          .token_offset_T1 = int32_tensor({0, 2, 3, 3}),
          .token_row_N = int32_tensor({0, 1, 2}),
          .row_weight_N = at::ones({3}, at::kFloat)};
}

TEST(CheckRouting, AcceptsTokensWithoutExpertsAndExpertsWithoutTokens) {
  EXPECT_NO_THROW(check_routing(valid_routing()));
}

TEST(CheckRouting, NamesTheInvariantThatDoesNotHold) {
  const auto expect_refused = [](const std::string& message,
                                 const std::function<void(Routing&)>& spoil) {
    Routing routing = valid_routing();
    spoil(routing);
    try {
      check_routing(routing);
      ADD_FAILURE() << "accepted: " << message;
    } catch (const InternalError& error) {
      EXPECT_NE(std::string(error.what()).find(message), std::string::npos) << error.what();
    }
  };
  expect_refused("expert_offset_E1 starts at 1", [](Routing& r) {
    r.expert_offset_E1 = int32_tensor({1, 1, 1, 3});
  });
  expect_refused("expert_offset_E1 descends", [](Routing& r) {
    r.expert_offset_E1 = int32_tensor({0, 2, 1, 3});
  });
  expect_refused("expert_offset_E1 ends at 2", [](Routing& r) {
    r.expert_offset_E1 = int32_tensor({0, 1, 1, 2});
  });
  expect_refused("expert_offset_E1 has 3 elements", [](Routing& r) {
    r.expert_offset_E1 = int32_tensor({0, 1, 3});
  });
  expect_refused("has token 3 of 3", [](Routing& r) { r.row_token_N = int32_tensor({0, 0, 3}); });
  expect_refused("tokens of expert 2 do not ascend", [](Routing& r) {
    r.row_token_N = int32_tensor({0, 1, 0});
  });
  expect_refused("token 1 lists row 1, which is of token 0", [](Routing& r) {
    r.token_offset_T1 = int32_tensor({0, 1, 3, 3});
  });
  expect_refused("rows of token 0 do not ascend", [](Routing& r) {
    r.token_row_N = int32_tensor({0, 0, 2});
  });
  expect_refused("token_row_N must be int32",
                 [](Routing& r) { r.token_row_N = r.token_row_N.to(at::kLong); });
  expect_refused("row_weight_N", [](Routing& r) { r.row_weight_N = at::ones({2}, at::kFloat); });
}

}  // namespace
}  // namespace switchyard::ops::testing
