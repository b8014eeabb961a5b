#include "switchyard/model/kv_cache.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <vector>

#include "model/decoder_fixture.h"
#include "support/tensors.h"
#include "switchyard/core/error.h"

namespace switchyard::model {
namespace {

using ::switchyard::testing::expect_close;

// Prompts of two lengths, then one token of each sequence at a time; every hidden state must be
// the one that a forward pass over the whole sequence gives.
TEST(KvCache, StepByStepEqualsTheWholeSequenceWhateverTheRouter) {
  const at::NoGradGuard no_grad;
  for (const RouterCase& c : router_cases()) {
    SCOPED_TRACE(c.name);
    config::ModelConfig config = small_config(c.router);
    config.qk_norm = c.name == "top_k";  // the other way to the keys
    config.moe.shared_expert_size = c.name == "relu" ? 7 : 0;
    config.moe.shared_expert_gate = c.name == "relu";
    const auto decoder = make_decoder(config);
    if (c.name == "expert_threshold") {  // as after its warm-up
      decoder->routers().at(1)->load_state({{"num_updates", at::full({}, 1000.0F, at::kFloat)},
                                            {"threshold", at::tensor({0.1F, -0.2F, 0.3F, 0.0F})}});
    }
    const std::vector<std::vector<std::int64_t>> whole{random_tokens(12, 1), random_tokens(20, 2)};
    const TrunkOutput expected = decoder->forward(make_batch(whole), {});
    const auto expected_experts = experts_of_tokens(expected.routes[0].routing);

    KvCache cache(config, 2, 24, {.compute = at::kDouble});
    std::vector<std::int64_t> done{0, 0};
    const std::vector<std::vector<std::int64_t>> lengths{{3, 9}, {1, 1}, {0, 2}, {5, 0}, {3, 8}};
    for (const std::vector<std::int64_t>& length : lengths) {
      std::vector<std::vector<std::int64_t>> part;
      for (std::size_t b = 0; b < 2; ++b) {
        EXPECT_EQ(cache.length(static_cast<std::int64_t>(b)), done[b]);
        part.emplace_back(whole[b].begin() + done[b], whole[b].begin() + done[b] + length[b]);
      }
      const Batch batch = make_batch(part, done);
      const TrunkOutput out = decoder->forward(batch, {.cache = &cache});
      const auto experts = experts_of_tokens(out.routes[0].routing);
      for (std::size_t b = 0; b < 2; ++b) {
        const std::int64_t from = (b == 0 ? 0 : 12) + done[b];
        expect_close(out.hidden_TH.narrow(0, batch.sequence_offset[b], length[b]),
                     expected.hidden_TH.narrow(0, from, length[b]), 1e-11, 1e-11);
        for (std::int64_t i = 0; i < length[b]; ++i) {
          EXPECT_EQ(experts[static_cast<std::size_t>(batch.sequence_offset[b] + i)],
                    expected_experts[static_cast<std::size_t>(from + i)])
              << "sequence " << b << ", token " << done[b] + i;
        }
        done[b] += length[b];
      }
    }
  }
}

TEST(KvCache, MoreTokensThanItHoldsAreRefused) {
  const at::NoGradGuard no_grad;
  const config::ModelConfig config = small_config();
  const auto decoder = make_decoder(config, at::kFloat);
  KvCache cache(config, 1, 4, {});
  (void)decoder->forward(make_batch({{1, 2, 3}}), {.cache = &cache});
  EXPECT_THROW((void)decoder->forward(make_batch({{1, 2}}), {.cache = &cache}), InternalError);
  EXPECT_THROW((void)decoder->forward(make_batch({{1}, {2}}), {.cache = &cache}), InternalError);
}

TEST(KvCache, PaddingIsRefused) {
  const at::NoGradGuard no_grad;
  const config::ModelConfig config = small_config();
  const auto decoder = make_decoder(config, at::kFloat);
  KvCache cache(config, 1, 4, {});
  Batch batch = make_batch({{1, 2, 3}});
  batch.valid_T = at::full({3}, true, at::kBool);
  EXPECT_THROW((void)decoder->forward(batch, {.cache = &cache}), InternalError);
}

}  // namespace
}  // namespace switchyard::model
