#include "ops/kernel_device.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "switchyard/core/error.h"
#include "switchyard/ops/dropout.h"
#include "switchyard/ops/embedding.h"
#include "switchyard/ops/linear_cross_entropy.h"
#include "switchyard/ops/rms_norm.h"
#include "switchyard/ops/row_gather.h"
#include "switchyard/ops/swiglu.h"
#include "switchyard/ops/top_k_route.h"

namespace switchyard::ops {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string error_of(const std::function<void()>& run) {
  try {
    run();
  } catch (const InternalError& error) {
    return error.what();
  }
  return "no error";
}

TEST(KernelDevice, ReadsAndWritesTensorsOfItsOwnDevice) {
  const KernelDevice on(at::kCPU, "an_op");
  const at::Tensor tensor = at::tensor({1.0F, 2.0F});
  *on.write<float>(tensor) = 5.0F;
  EXPECT_EQ(on.read<float>(tensor)[0], 5.0F);
  EXPECT_EQ(static_cast<const void*>(on.read<std::byte>(tensor)), tensor.const_data_ptr());
  EXPECT_EQ(on.read_if_defined<float>({}), nullptr);
  EXPECT_EQ(on.run([] { return 1; }, [](kernels::Stream) { return 2; }), 1);
  EXPECT_THAT(host_values<float>(tensor), ElementsAre(5.0F, 2.0F));
}

TEST(KernelDevice, RefusesTensorsThatLieElsewhereAndNamesOpAndDevices) {
  const KernelDevice on(at::kCPU, "an_op");
  const at::Tensor elsewhere = at::empty({2}, at::TensorOptions().device(at::kMeta));
  const auto says = AllOf(HasSubstr("an_op"), HasSubstr("on meta"), HasSubstr("expected cpu"));
  EXPECT_THAT(error_of([&] { (void)on.read<float>(elsewhere); }), says);
  EXPECT_THAT(error_of([&] { (void)on.write<float>(elsewhere); }), says);
  EXPECT_THAT(error_of([&] { (void)on.read_if_defined<float>(elsewhere); }), says);
  EXPECT_THAT(error_of([&] { (void)on.write_if_defined<float>(elsewhere); }), says);
  EXPECT_THAT(error_of([&] { (void)on.read<float>({}); }), HasSubstr("not defined"));
  EXPECT_THAT(error_of([&] { (void)host_values<float>(elsewhere); }), HasSubstr("on meta"));
}

TEST(KernelDevice, RefusesDevicesWithoutKernelsAndStreamsOfTheCpu) {
  EXPECT_THAT(error_of([] { (void)KernelDevice(at::kMeta, "an_op"); }),
              HasSubstr("an_op has no kernels for meta"));
  EXPECT_THAT(error_of([] { (void)KernelDevice(at::kCPU, "an_op").stream(); }),
              HasSubstr("a stream of cpu"));
}

// One tensor of each op lies on another device than the others.
TEST(KernelDevice, EveryOpRefusesATensorThatLiesElsewhere) {
  const auto meta = at::TensorOptions().device(at::kMeta);
  const at::Tensor x_TH = at::ones({3, 4});
  const at::Tensor token_T = at::tensor({0, 1, 2}, at::kLong);
  const Routing routing = top_k_route(x_TH, {}, at::tensor({0, 3}, at::kInt), {.k = 2}).routing;
  Routing elsewhere = routing;
  elsewhere.token_row_N = at::empty_like(routing.token_row_N, meta);
  const at::Tensor trained_34 = at::ones({3, 4}).requires_grad_();
  const std::vector<std::function<void()>> calls{
      [&] { (void)rms_norm(x_TH, at::empty({4}, meta), 1e-6); },
      [&] {
        (void)rms_norm(at::empty({3, 4}, meta), at::ones({4}), 1e-6);
      },
      [&] {
        (void)dropout(x_TH, at::empty({3}, meta.dtype(at::kLong)), 0.5,
                      {.seed = 1, .step = 0, .layer = 0, .site = 0});
      },
      [&] { (void)linear_cross_entropy(x_TH, x_TH, at::empty({3}, meta.dtype(at::kLong))); },
      [&] {
        (void)row_gather_sum(at::ones({6, 4}), at::empty({6}, meta), routing);
      },
      [&] {
        (void)row_gather_sum(at::ones({6, 4}), {}, elsewhere);
      },
      [&] {
        (void)swiglu_backward(x_TH, at::ones({3, 2}), at::empty({3}, meta));
      },
      [&] {
        embedding(token_T, trained_34, at::empty({3, 4}, meta)).sum().backward();
      }};
  for (std::size_t i = 0; i < calls.size(); ++i) {
    EXPECT_THAT(error_of(calls[i]), HasSubstr("meta")) << "call " << i;
  }
}

}  // namespace
}  // namespace switchyard::ops
