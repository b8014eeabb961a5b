#include "switchyard/ops/parameter.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/sum.h>
#include <gtest/gtest.h>

#include "switchyard/core/error.h"

namespace switchyard::ops {
namespace {

ParameterSpec stacked_spec() {
  return {
      .name = "experts.w1",
      .shape = {2, 3, 5},
      .parts = {{"experts.4.up_proj.weight", 0, {3, 5}}, {"experts.5.up_proj.weight", 15, {3, 5}}},
      .init_std = 0.1,
      .is_expert = true};
}

TEST(Parameter, InitialValuesDoNotDependOnStacking) {
  Parameter stacked = make_parameter(stacked_spec(), {});
  initialize(stacked, 3);
  Parameter alone =
      make_parameter({.name = "experts.5.up_proj.weight", .shape = {3, 5}, .init_std = 0.1}, {});
  initialize(alone, 3);
  EXPECT_TRUE(at::equal(stacked.value.select(0, 1), alone.value));
  EXPECT_FALSE(at::equal(stacked.value.select(0, 0), alone.value));
}

// What a rank that holds a part of a tensor starts from is that part of the whole.
TEST(Parameter, InitialValuesDoNotDependOnSlicing) {
  Parameter whole = make_parameter({.name = "w", .shape = {5, 7}, .init_std = 0.1}, {});
  initialize(whole, 3);
  const at::Tensor elements = whole.value.detach().view({-1});
  for (const auto& [begin, count] : {std::pair{0, 12}, std::pair{12, 23}, std::pair{20, 0}}) {
    Parameter slice = make_parameter(
        {.name = "w",
         .shape = {count},
         .parts = {{.name = "w", .shape = {5, 7}, .slice = {{.begin = begin, .count = count}}}},
         .init_std = 0.1},
        {});
    initialize(slice, 3);
    EXPECT_TRUE(at::equal(slice.value.detach(), elements.narrow(0, begin, count)));
  }
}

TEST(Parameter, SlicesOutsideTheirTensorAreRefused) {
  for (const auto& [begin, count] : {std::pair{4, 32}, std::pair{-4, 8}, std::pair{2, 4}}) {
    EXPECT_THROW((void)make_parameter({.name = "w",
                                       .shape = {count},
                                       .parts = {{.name = "w",
                                                  .shape = {5, 7},
                                                  .slice = {{.begin = begin, .count = count}}}}},
                                      {}),
                 InternalError)
        << begin << " " << count;
  }
}

TEST(Parameter, TheSeedChangesTheInitialValues) {
  Parameter one = make_parameter(stacked_spec(), {});
  Parameter two = make_parameter(stacked_spec(), {});
  initialize(one, 1);
  initialize(two, 2);
  EXPECT_FALSE(at::equal(one.value, two.value));
}

TEST(Parameter, OnesAndZerosAreFilled) {
  Parameter ones = make_parameter({.name = "norm", .shape = {4}, .initializer = Initializer::ones},
                                  {.compute = at::kBFloat16});
  initialize(ones, 1);
  EXPECT_EQ(ones.value.sum().item<double>(), 4.0);
  EXPECT_EQ(ones.master.sum().item<double>(), 4.0);
  Parameter zeros =
      make_parameter({.name = "bias", .shape = {4}, .initializer = Initializer::zeros}, {});
  initialize(zeros, 1);
  EXPECT_EQ(zeros.master.abs().sum().item<double>(), 0.0);
}

TEST(Parameter, ValueAndMasterAreOneTensorWhenTheirTypesAgree) {
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    Parameter parameter = make_parameter(stacked_spec(), {.compute = dtype});
    EXPECT_TRUE(parameter.value.is_alias_of(parameter.master));
    EXPECT_EQ(parameter.master.scalar_type(), dtype);
    EXPECT_TRUE(parameter.value.requires_grad());
    EXPECT_FALSE(parameter.master.requires_grad());
    parameter.master.fill_(2.0);
    publish(parameter);
    EXPECT_EQ(parameter.value.sum().item<double>(), 60.0);
  }
}

TEST(Parameter, PublishRoundsTheMasterIntoABf16Value) {
  Parameter parameter = make_parameter(stacked_spec(), {.compute = at::kBFloat16});
  EXPECT_EQ(parameter.value.scalar_type(), at::kBFloat16);
  EXPECT_EQ(parameter.master.scalar_type(), at::kFloat);
  initialize(parameter, 3);
  EXPECT_TRUE(at::equal(parameter.value, parameter.master.to(at::kBFloat16)));
  parameter.master.fill_(1.001);
  publish(parameter);
  EXPECT_EQ(parameter.value.select(0, 0).sum().item<double>(), 15.0);
}

TEST(Parameter, KeepAccumulationTypeOverridesTheComputeType) {
  ParameterSpec spec = stacked_spec();
  spec.keep_accumulation_type = true;
  const Parameter parameter = make_parameter(spec, {.compute = at::kBFloat16});
  EXPECT_EQ(parameter.value.scalar_type(), at::kFloat);
  EXPECT_TRUE(parameter.value.is_alias_of(parameter.master));
}

TEST(Parameter, GradientsOfMicroBatchesAddUpInTheAccumulationType) {
  Parameter parameter = make_parameter(stacked_spec(), {.compute = at::kBFloat16});
  initialize(parameter, 3);
  zero_grad(parameter);
  // 1 + 2^-9 is not a bf16 number, so a sum kept in bf16 would lose the second gradient.
  for (const double scale : {1.0, 0x1.0p-9}) {
    at::mul(parameter.value, scale).sum().backward();
    EXPECT_TRUE(parameter.value.grad().defined());
    collect_grad(parameter);
    EXPECT_FALSE(parameter.value.grad().defined());
  }
  EXPECT_EQ(parameter.grad.scalar_type(), at::kFloat);
  EXPECT_TRUE(at::equal(parameter.grad, at::full_like(parameter.grad, 1.0 + 0x1.0p-9)));
  zero_grad(parameter);
  EXPECT_EQ(parameter.grad.abs().sum().item<double>(), 0.0);
}

TEST(Parameter, CollectingWithoutAGradientLeavesTheBufferAsItIs) {
  Parameter parameter = make_parameter(stacked_spec(), {});
  initialize(parameter, 3);
  collect_grad(parameter);
  EXPECT_FALSE(parameter.grad.defined());
  zero_grad(parameter);
  parameter.grad.fill_(5.0);
  collect_grad(parameter);
  EXPECT_EQ(parameter.grad.sum().item<double>(), 150.0);
}

TEST(Parameter, OnMetaNothingIsAllocated) {
  // 2^50 elements: allocating them would throw.
  const Parameter parameter =
      make_parameter({.name = "huge", .shape = {1 << 25, 1 << 25}}, {.device = at::kMeta});
  EXPECT_EQ(parameter.numel(), std::int64_t{1} << 50);
}

TEST(Parameter, PartsThatDoNotCoverTheParameterAreRefused) {
  ParameterSpec gap = stacked_spec();
  gap.parts[1].offset = 16;
  EXPECT_THROW((void)make_parameter(gap, {}), InternalError);
  ParameterSpec shorter = stacked_spec();
  shorter.parts.pop_back();
  EXPECT_THROW((void)make_parameter(shorter, {}), InternalError);
}

}  // namespace
}  // namespace switchyard::ops
