#include "switchyard/model/classification_head.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <vector>

#include "model/decoder_fixture.h"
#include "support/tensors.h"
#include "switchyard/model/classifier.h"

namespace switchyard::model {
namespace {

using testing::expect_close;

const ops::PrecisionPolicy kFp64{.compute = at::kDouble};

ClassificationHead make_head(Pooling pooling) {
  config::ModelConfig config = small_config();
  config.init_std = 0.5;
  ClassificationHead head(config, 3, pooling, kFp64);
  for (ops::Parameter* parameter : head.parameters()) {
    ops::initialize(*parameter, 5);
    if (parameter->value.dim() == 1) {  // a bias of zeros would hide that it is added
      const at::Tensor bias = testing::random_normal(parameter->master.sizes().vec(), 6);
      parameter->master.detach().copy_(bias);
      ops::publish(*parameter);
    }
    ops::zero_grad(*parameter);
  }
  return head;
}

// The head written out for one pooled vector.
at::Tensor expected(ClassificationHead& head, const at::Tensor& pooled_H) {
  const auto list = head.parameters();
  const at::Tensor dense = list[0]->value.mv(pooled_H).add(list[1]->value).tanh();
  return list[2]->value.mv(dense).add(list[3]->value).detach();
}

TEST(ClassificationHead, ReadsTheMeanOfASequenceItsFirstTokenOrItsLast) {
  const Batch batch = make_batch({{1, 2, 3, 4}, {5, 6}});
  const at::Tensor hidden_TH = testing::random_normal({6, 12}, 9);
  ClassificationHead mean = make_head(Pooling::mean);
  expect_close(mean.logits(hidden_TH, batch).detach(),
               at::stack({expected(mean, hidden_TH.narrow(0, 0, 4).mean(0)),
                          expected(mean, hidden_TH.narrow(0, 4, 2).mean(0))}),
               1e-12, 1e-12);
  ClassificationHead first = make_head(Pooling::first);
  expect_close(first.logits(hidden_TH, batch).detach(),
               at::stack({expected(first, hidden_TH[0]), expected(first, hidden_TH[4])}), 1e-12,
               1e-12);
  ClassificationHead last = make_head(Pooling::last);
  expect_close(last.logits(hidden_TH, batch).detach(),
               at::stack({expected(last, hidden_TH[3]), expected(last, hidden_TH[5])}), 1e-12,
               1e-12);
}

// Two means of [H] as the head compares them.
at::Tensor compared(const at::Tensor& u_H, const at::Tensor& v_H) {
  return at::cat({u_H, v_H, u_H.sub(v_H).abs(), u_H.mul(v_H)});
}

TEST(ClassificationHead, ComparesTheTextsOfAPair) {
  Batch batch = make_batch({{1, 2, 3, 4}, {5, 6, 7}});
  batch.second_B = at::tensor(std::vector<std::int64_t>{3, 5}, at::kLong);
  const at::Tensor hidden_TH = testing::random_normal({7, 12}, 9);
  ClassificationHead head = make_head(Pooling::pair);
  EXPECT_EQ(head.parameters()[0]->master.sizes(), (std::vector<std::int64_t>{12, 48}));
  expect_close(
      head.logits(hidden_TH, batch).detach(),
      at::stack({expected(head, compared(hidden_TH.narrow(0, 0, 3).mean(0), hidden_TH[3])),
                 expected(head, compared(hidden_TH[4], hidden_TH.narrow(0, 5, 2).mean(0)))}),
      1e-12, 1e-12);
  batch.valid_T = at::full({7}, true, at::kBool);
  batch.valid_T[0].fill_(false);
  batch.valid_T[6].fill_(false);
  expect_close(head.logits(hidden_TH, batch).detach(),
               at::stack({expected(head, compared(hidden_TH.narrow(0, 1, 2).mean(0), hidden_TH[3])),
                          expected(head, compared(hidden_TH[4], hidden_TH[5]))}),
               1e-12, 1e-12);
}

TEST(ClassificationHead, ScoresAreNotRoundedWhereTheModelComputesInBf16) {
  const Batch batch = make_batch({{1, 2, 3, 4}, {5, 6}});
  ClassificationHead head(small_config(), 3, Pooling::mean, {.compute = at::kBFloat16});
  for (ops::Parameter* parameter : head.parameters()) {
    ops::initialize(*parameter, 5);
    ops::zero_grad(*parameter);
  }
  const at::Tensor hidden_TH = testing::random_normal({6, 12}, 9).to(at::kBFloat16);
  const at::Tensor logits_BC = head.logits(hidden_TH, batch).detach();
  EXPECT_EQ(logits_BC.scalar_type(), at::kFloat);
  const at::Tensor wide_TH = hidden_TH.to(at::kFloat);
  expect_close(logits_BC,
               at::stack({expected(head, wide_TH.narrow(0, 0, 4).mean(0)),
                          expected(head, wide_TH.narrow(0, 4, 2).mean(0))}),
               1e-6, 1e-6);
}

TEST(ClassificationHead, LeavesPaddingOut) {
  const at::Tensor hidden_TH = testing::random_normal({7, 12}, 9);
  Batch padded = make_batch({{1, 2, 3, 4}, {5, 6, 7}});
  padded.valid_T = at::full({7}, true, at::kBool);
  padded.valid_T[3].fill_(false);  // behind the first sequence
  padded.valid_T[4].fill_(false);  // before the second
  const std::map<Pooling, std::vector<at::Tensor>> of_valid = {
      {Pooling::mean, {hidden_TH.narrow(0, 0, 3).mean(0), hidden_TH.narrow(0, 5, 2).mean(0)}},
      {Pooling::first, {hidden_TH[0], hidden_TH[5]}},
      {Pooling::last, {hidden_TH[2], hidden_TH[6]}}};
  for (const auto& [pooling, pooled] : of_valid) {
    ClassificationHead head = make_head(pooling);
    expect_close(head.logits(hidden_TH, padded).detach(),
                 at::stack({expected(head, pooled[0]), expected(head, pooled[1])}), 1e-12, 1e-12);
  }
}

TEST(ClassificationHead, GradientsMatchDifferences) {
  Batch batch = make_batch({{1, 2, 3, 4}, {5, 6}});
  batch.second_B = at::tensor(std::vector<std::int64_t>{2, 5}, at::kLong);
  const at::Tensor weight_BC = testing::random_normal({2, 3}, 11);
  for (const Pooling pooling : {Pooling::mean, Pooling::first, Pooling::last, Pooling::pair}) {
    ClassificationHead head = make_head(pooling);
    at::Tensor hidden_TH = testing::random_normal({6, 12}, 9);
    const auto loss = [&] { return head.logits(hidden_TH, batch).mul(weight_BC).sum(); };
    hidden_TH.set_requires_grad(true);
    loss().backward();
    const at::Tensor gradient_TH = hidden_TH.grad().clone();
    hidden_TH = hidden_TH.detach();
    constexpr double kStep = 1e-6;
    for (std::int64_t t = 0; t < 6; ++t) {
      const double before = hidden_TH[t][2].item<double>();
      hidden_TH[t][2].fill_(before + kStep);
      const double above = loss().item<double>();
      hidden_TH[t][2].fill_(before - kStep);
      const double below = loss().item<double>();
      hidden_TH[t][2].fill_(before);
      EXPECT_NEAR(gradient_TH[t][2].item<double>(), (above - below) / (2 * kStep), 1e-8);
    }
  }
}

TEST(Classifier, IsATrunkThatSeesBothWaysAndAHeadByItsOwnNames) {
  config::ModelConfig config = small_config();
  config.type = "encoder";
  Classifier classifier(config, kSequenceLength, 2, Pooling::mean, kFp64);
  classifier.initialize(1);
  std::vector<std::string> names;
  for (const ops::Parameter* parameter : classifier.parameters()) names.push_back(parameter->name);
  EXPECT_EQ(names.front(), "model.embed_tokens.weight");
  EXPECT_EQ(names.back(), "classifier.out_proj.bias");
  const Batch batch = make_batch({{3, 1, 4, 1, 5}});
  const at::Tensor before = classifier.forward(batch, {}).hidden_TH;
  const at::Tensor after = classifier.forward(make_batch({{3, 1, 4, 1, 7}}), {}).hidden_TH;
  EXPECT_GT((before[0] - after[0]).abs().max().item<double>(), 1e-6)
      << "the first token sees the last one";
  const at::Tensor logits_BC = classifier.head().logits(before, batch);
  EXPECT_EQ(logits_BC.size(0), 1);
  EXPECT_EQ(logits_BC.size(1), 2);
}

}  // namespace
}  // namespace switchyard::model
