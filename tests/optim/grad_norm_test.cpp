#include "switchyard/optim/grad_norm.h"

#include <ATen/Parallel.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "optim/parameters.h"
#include "switchyard/core/error.h"

namespace switchyard::optim {
namespace {

class GradNorm : public ::testing::Test {
 protected:
  void SetUp() override {
    // One smaller than a block, one of several blocks and a rest.
    small_ = wave_parameter("small", {7, 11}, true, {}, 0.0);
    large_ = wave_parameter("experts", {3, 20000}, true, {}, 0.0);
    small_->grad.copy_(wave({7, 11}, 0.4, at::kFloat));
    large_->grad.copy_(wave({3, 20000}, 0.8, at::kFloat));
    parameters_ = {small_.get(), large_.get()};
  }

  [[nodiscard]] double norm_in_double() const {
    double sum = 0.0;
    for (const ops::Parameter* parameter : parameters_) {
      const at::Tensor grad = parameter->grad.to(at::kDouble).contiguous();
      for (std::int64_t i = 0; i < grad.numel(); ++i) {
        sum += std::pow(grad.const_data_ptr<double>()[i], 2);
      }
    }
    return std::sqrt(sum);
  }

  [[nodiscard]] std::vector<at::Tensor> gradients() const { return {small_->grad, large_->grad}; }

  std::unique_ptr<ops::Parameter> small_;
  std::unique_ptr<ops::Parameter> large_;
  std::vector<ops::Parameter*> parameters_;
};

TEST_F(GradNorm, CountsEveryElementOnce) {
  const double expected = norm_in_double();
  EXPECT_NEAR(grad_norms(parameters_).total, expected, 1e-6 * expected);
  EXPECT_EQ(grad_norms({}).total, 0.0);
}

// What other ranks hold of the experts comes in through `gather`, which is given the norms of the
// blocks of the expert parameters alone.
TEST_F(GradNorm, CountsTheExpertsOfEveryRankThatIsGathered) {
  large_->replicas = ops::ReplicaGroup::expert_replicas;
  const double alone = grad_norms(parameters_).total;
  EXPECT_NEAR(alone, norm_in_double(), 1e-6 * alone);
  large_->grad.zero_();
  const double dense = grad_norms(parameters_).total;
  const GradNorms norms = grad_norms(parameters_, [](const at::Tensor& own_K) {
    EXPECT_EQ(own_K.numel(), 4);  // 60000 elements in blocks of 16384
    EXPECT_EQ(own_K.scalar_type(), at::kDouble);
    return at::arange(3 * own_K.numel(), own_K.options()).view({3, own_K.numel()});
  });
  const double three_ranks = norms.total;
  EXPECT_NEAR(three_ranks, std::sqrt(dense * dense + 506.0), 1e-9 * three_ranks);  // 0 + 1 + 4 ..
  EXPECT_THROW((void)grad_norms(parameters_, [](const at::Tensor& own_K) { return own_K; }),
               InternalError);
}

TEST_F(GradNorm, HasTheSameBitsOnOneThread) {
  const double many = grad_norms(parameters_).total;
  const int num_threads = at::get_num_threads();
  at::set_num_threads(1);
  const double one = grad_norms(parameters_).total;
  at::set_num_threads(num_threads);
  EXPECT_EQ(many, one);
}

TEST_F(GradNorm, IsNotFiniteWhenOneElementIsNot) {
  for (const double bad : {std::nan(""), std::numeric_limits<double>::infinity()}) {
    large_->grad.zero_();
    large_->grad.select(0, 2).narrow(0, 19999, 1).fill_(bad);
    EXPECT_FALSE(std::isfinite(grad_norms(parameters_).total));
  }
}

TEST_F(GradNorm, ClippingScalesToTheLimit) {
  const double norm = grad_norms(parameters_).total;
  const at::Tensor before = small_->grad.clone();
  clip_gradients(gradients(), norm, norm / 4.0);
  EXPECT_NEAR(grad_norms(parameters_).total, norm / 4.0, 1e-5 * norm);
  EXPECT_LT(small_->grad.sub(before.div(4.0)).abs().max().item<double>(), 1e-6);
}

TEST_F(GradNorm, ClippingLeavesSmallGradientsAlone) {
  const double norm = grad_norms(parameters_).total;
  const at::Tensor before = large_->grad.clone();
  clip_gradients(gradients(), norm, norm);
  clip_gradients(gradients(), norm, norm * 2.0);
  clip_gradients(gradients(), norm, 0.0);  // off
  EXPECT_TRUE(at::equal(large_->grad, before));
}

}  // namespace
}  // namespace switchyard::optim
