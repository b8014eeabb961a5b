// What a classifier's head makes the host wait for.
#include <ATen/ops/arange.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "support/simulated_device/simulated_device.h"
#include "support/tiny_model.h"
#include "switchyard/model/classification_head.h"
#include "switchyard/ops/precision.h"

namespace switchyard::model {
namespace {

TEST(HeadTraffic, NoPoolingMakesTheHostWait) {
  const at::Device device(at::kCUDA, 0);
  const config::Config config = testing::tiny_config("bf16");
  Batch batch;
  batch.token_T = at::arange(5, at::kLong);
  batch.position_T = at::zeros({5}, at::kLong);
  batch.token_idx_T = at::zeros({5}, at::kLong);
  batch.sequence_offset = {0, 2, 5};
  batch.sequence_offset_B1 = at::tensor({0, 2, 5}, at::kInt);
  batch.second_B = at::tensor({1, 3}, at::kLong);
  batch = to_device(batch, device);
  const at::Tensor hidden_TH =
      at::ones({5, config.model.hidden_size}, at::TensorOptions(device).dtype(at::kBFloat16));
  for (const Pooling pooling : {Pooling::mean, Pooling::first, Pooling::last, Pooling::pair}) {
    ClassificationHead head(config.model, 2, pooling, ops::precision_policy("bf16", device));
    (void)simulated_device::take_traffic();
    (void)head.logits(hidden_TH, batch);
    const simulated_device::Traffic traffic = simulated_device::take_traffic();
    EXPECT_TRUE(traffic.waits.empty()) << to_string(traffic);
  }
}

}  // namespace
}  // namespace switchyard::model
