#include "switchyard/moe/dispatcher.h"

#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include "moe/moe_reference.h"
#include "switchyard/core/error.h"
#include "switchyard/moe/moe_ffn.h"

namespace switchyard::moe::testing {
namespace {

TEST(LocalDispatcher, FinishesInAnyOrderWhatItBegan) {
  const auto compute = make_expert_compute("loop", {.dtype = at::kDouble});
  const auto dispatcher = make_local_dispatcher(compute);
  const Shape shape;
  const MoeInputs a = random_inputs(shape, variable_k(shape), at::kDouble);
  const MoeInputs b = random_inputs(shape, std::vector<std::int32_t>(12, 2), at::kDouble);
  auto pending_a = dispatcher->begin(a.x_TH, a.routing);
  auto pending_b = dispatcher->begin(b.x_TH, b.routing);
  const ExpertWeights weights{.w1_E2FH = a.w1_E2FH, .w2_EHF = a.w2_EHF, .sink = {}};
  const at::Tensor y_b = dispatcher->finish(std::move(pending_b), weights);
  const at::Tensor y_a = dispatcher->finish(std::move(pending_a), weights);
  EXPECT_TRUE(at::equal(y_a, moe_ffn(a.x_TH, a.routing, a.w1_E2FH, a.w2_EHF, compute, {})));
  EXPECT_TRUE(at::equal(y_b, moe_ffn(b.x_TH, b.routing, a.w1_E2FH, a.w2_EHF, compute, {})));
}

TEST(LocalDispatcher, RefusesWhatAnotherKindOfDispatcherBegan) {
  class Foreign final : public Dispatcher::Pending {};
  const auto dispatcher = make_local_dispatcher(make_expert_compute("loop", {}));
  EXPECT_THROW((void)dispatcher->finish(std::make_unique<Foreign>(), {}), InternalError);
  EXPECT_THROW((void)dispatcher->finish(nullptr, {}), InternalError);
}

}  // namespace
}  // namespace switchyard::moe::testing
