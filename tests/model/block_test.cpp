#include "model/block.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "model/decoder_fixture.h"
#include "support/tensors.h"
#include "switchyard/config/routers/top_p.h"

namespace switchyard::model {
namespace {

// Which elements of its branch a block dropped, with all other branches silent.
at::Tensor dropped_by(const std::string& silent_matrix) {
  config::ModelConfig config = small_config(config::RouterConfig(config::TopPOptions{.p = 0.5}));
  config.dropout = 0.5;
  Block block(config, 0,
              {.sequence_length = kSequenceLength, .precision = {.compute = at::kDouble}});
  for (ops::Parameter* parameter : block.parameters()) {
    if (parameter->name.find(silent_matrix) != std::string::npos) parameter->init_std = 0.0;
    ops::initialize(*parameter, 3);
  }
  const Batch batch = make_batch({{3, 1, 4, 1, 5, 9, 2, 6}});
  const at::Tensor x_TH = testing::random_normal({8, config.hidden_size}, 5);
  const at::Tensor y_TH = block.forward(x_TH, batch, {.training = true, .seed = 1}).x_TH;
  return y_TH.detach().eq(x_TH);
}

TEST(Block, AttentionAndMlpDropDifferentElements) {
  const at::Tensor by_attention = dropped_by("down_proj");
  const at::Tensor by_mlp = dropped_by("o_proj");
  for (const at::Tensor& dropped : {by_attention, by_mlp}) {  // about half of them
    const double share = dropped.to(at::kDouble).mean().item<double>();
    EXPECT_GT(share, 0.3);
    EXPECT_LT(share, 0.7);
  }
  EXPECT_FALSE(at::equal(by_attention, by_mlp));
}

// Queries and keys are rotated alike: what attention sees of positions is how far they are apart.
TEST(Block, AttentionSeesDistancesAndNothingElseOfPositions) {
  for (const bool qk_norm : {false, true}) {
    SCOPED_TRACE(qk_norm ? "qk_norm" : "plain");
    config::ModelConfig config = small_config();
    config.qk_norm = qk_norm;
    Block block(config, 0,
                {.sequence_length = kSequenceLength, .precision = {.compute = at::kDouble}});
    for (ops::Parameter* parameter : block.parameters()) ops::initialize(*parameter, 3);
    const std::vector<std::vector<std::int64_t>> tokens = {{3, 1, 4, 1, 5, 9, 2, 6}};
    const at::Tensor x_TH = testing::random_normal({8, config.hidden_size}, 5);
    const auto output = [&](const Batch& batch) {
      return block.forward(x_TH, batch, {}).x_TH.detach();
    };
    const at::Tensor y_TH = output(make_batch(tokens));
    const at::Tensor later_TH = output(make_batch(tokens, /*first_position=*/{17}));
    EXPECT_TRUE(at::allclose(later_TH, y_TH, 1e-5, 1e-5));
    Batch wide = make_batch(tokens);
    wide.position_T = wide.position_T * 2;
    wide.num_positions *= 2;
    EXPECT_FALSE(at::allclose(output(wide), y_TH, 1e-3, 1e-3));
  }
}

}  // namespace
}  // namespace switchyard::model
