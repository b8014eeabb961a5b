// Attention in bf16 on a GPU, where LibTorch's flash kernels compute it, against the CPU's kernel
// in fp32 from the same numbers, and against our own kernel on the GPU, which a mask asks for.
#include <ATen/ops/full.h>
#include <ATen/record_function.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "support/near_in_norm.h"
#include "support/tensors.h"
#include "switchyard/ops/attention.h"
#include "switchyard/ops/attention_importance.h"
#include "switchyard/ops/device.h"
#include "train/cuda/gpu.h"

namespace switchyard::train {
namespace {

using ops::AttentionOptions;
using ops::ImportanceMeasure;
using switchyard::testing::expect_near_in_norm;
using switchyard::testing::random_normal;

// How often LibTorch's operator of this name was called since this was made.
class Calls {
 public:
  explicit Calls(const char* name) {
    num_calls_ = 0;
    name_ = name;
    handle_ = at::addGlobalCallback(at::RecordFunctionCallback([](const at::RecordFunction& op) {
                                      if (std::string(op.name()) == name_) ++num_calls_;
                                      return std::unique_ptr<at::ObserverContext>();
                                    }).scopes({at::RecordScope::FUNCTION}));
  }
  ~Calls() { at::removeCallback(handle_); }
  Calls(const Calls&) = delete;
  Calls& operator=(const Calls&) = delete;
  [[nodiscard]] int count() const { return num_calls_; }

 private:
  static inline std::atomic<int> num_calls_ = 0;
  static inline const char* name_ = "";
  at::CallbackHandle handle_;
};

struct Case {
  std::string name;
  std::int64_t heads = 4;
  std::int64_t groups = 4;
  std::int64_t head_size = 64;
  AttentionOptions options = {};
  std::int64_t num_keys = 0;  // 0: as many as queries
};

struct Results {
  at::Tensor out, lse, dq, dk, dv, importance;
};

at::Tensor values(const std::vector<std::int64_t>& shape, std::uint64_t seed) {
  return random_normal(shape, seed, at::kFloat).to(at::kBFloat16);
}

// In `dtype` on `device`. k and v are slices of one tensor, as they are behind a projection.
Results run(const Case& c, at::ScalarType dtype, at::Device device, bool with_gradient,
            ImportanceMeasure measure) {
  const std::int64_t num_tokens = c.options.sequence_offset.back();
  const std::int64_t num_keys = c.num_keys == 0 ? num_tokens : c.num_keys;
  const auto leaf = [&](const at::Tensor& tensor) {
    return tensor.to(device, dtype).requires_grad_(with_gradient);
  };
  const at::Tensor q = leaf(values({num_tokens, c.heads, c.head_size}, 1));
  const at::Tensor kv = leaf(values({num_keys, 2 * c.groups, c.head_size}, 2));
  const at::Tensor k = kv.narrow(1, 0, c.groups);
  const at::Tensor v = kv.narrow(1, c.groups, c.groups);
  const ops::AttentionOutput out = ops::attention(q, k, v, c.options);
  Results results;
  results.out = out.out_TAD.detach();
  results.lse = out.lse_AT;
  if (measure != ImportanceMeasure::none) {
    results.importance = ops::attention_importance(q, k, out.lse_AT, c.options, measure);
  }
  if (!with_gradient) return results;
  out.out_TAD.backward(values(q.sizes().vec(), 3).to(device, dtype));
  results.dq = q.grad();
  results.dk = kv.grad().narrow(1, 0, c.groups);
  results.dv = kv.grad().narrow(1, c.groups, c.groups);
  return results;
}

// bf16 has 8 bits: a rounded result is off by a 300th in norm.
constexpr double kLimit = 1e-2;

void expect_alike(const Results& actual, const Results& expected, const std::string& what) {
  expect_near_in_norm(actual.out, expected.out, kLimit, (what + ", out").c_str());
  expect_near_in_norm(actual.lse, expected.lse, 1e-4, (what + ", lse").c_str());
  EXPECT_EQ(actual.lse.scalar_type(), at::kFloat);
  EXPECT_EQ(actual.lse.sizes(), expected.lse.sizes());
  if (expected.dq.defined()) {
    expect_near_in_norm(actual.dq, expected.dq, kLimit, (what + ", dq").c_str());
    expect_near_in_norm(actual.dk, expected.dk, kLimit, (what + ", dk").c_str());
    expect_near_in_norm(actual.dv, expected.dv, kLimit, (what + ", dv").c_str());
  }
  if (expected.importance.defined()) {
    expect_near_in_norm(actual.importance, expected.importance, 1e-3,
                        (what + ", importance").c_str());
  }
}

class FlashAttentionOnGpu : public OnGpu<> {
 protected:
  void SetUp() override {
    OnGpu::SetUp();
    if (!IsSkipped() && test_device() == "cpu") GTEST_SKIP() << "flash attention is for GPUs";
  }

  static void expect_those_of_our_kernels(const Case& c, bool with_gradient,
                                          ImportanceMeasure measure = ImportanceMeasure::none) {
    SCOPED_TRACE(c.name);
    const at::Device device = ops::device_of(test_device());
    const Results expected = run(c, at::kFloat, at::kCPU, with_gradient, measure);
    {
      const Calls calls("aten::_flash_attention_forward");
      expect_alike(run(c, at::kBFloat16, device, with_gradient, measure), expected, "flash");
      EXPECT_EQ(calls.count(), 1);
    }
    Case masked = c;
    masked.options.valid_T =
        at::full({c.num_keys == 0 ? c.options.sequence_offset.back() : c.num_keys}, true,
                 at::TensorOptions().dtype(at::kBool).device(device));
    const Calls calls("aten::_flash_attention_forward");
    expect_alike(run(masked, at::kBFloat16, device, with_gradient, measure), expected, "ours");
    EXPECT_EQ(calls.count(), 0);
  }
};

TEST_F(FlashAttentionOnGpu, GivesWhatOurKernelsGiveForPackedSequences) {
  for (const bool causal : {true, false}) {
    const std::string how = causal ? "causal" : "both ways";
    expect_those_of_our_kernels(
        {.name = how + ", one sequence", .options = {.sequence_offset = {0, 70}, .causal = causal}},
        true);
    // One has a single token, one has none.
    expect_those_of_our_kernels(
        {.name = how + ", several",
         .options = {.sequence_offset = {0, 33, 34, 34, 130}, .causal = causal}},
        true);
    expect_those_of_our_kernels({.name = how + ", groups of two",
                                 .groups = 2,
                                 .options = {.sequence_offset = {0, 40, 90}, .causal = causal}},
                                true);
    expect_those_of_our_kernels(
        {.name = how + ", one group, another scale",
         .groups = 1,
         .options = {.sequence_offset = {0, 40, 90}, .causal = causal, .scale = 0.4}},
        true);
    // One token each, which CUDA's kernels compute in another layout. (Gradients of q and k are 0.)
    expect_those_of_our_kernels({.name = how + ", single tokens",
                                 .groups = 2,
                                 .options = {.sequence_offset = {0, 1, 2, 2, 3}, .causal = causal}},
                                false);
  }
}

TEST_F(FlashAttentionOnGpu, TakesHeadsOfEverySizeThatItSaysItTakes) {
  for (const std::int64_t head_size : {8, 40, 96, 128, 192, 256}) {
    expect_those_of_our_kernels({.name = "heads of " + std::to_string(head_size),
                                 .heads = 2,
                                 .groups = 1,
                                 .head_size = head_size,
                                 .options = {.sequence_offset = {0, 17, 50}}},
                                true);
  }
}

TEST_F(FlashAttentionOnGpu, ReadsKeysFromACache) {
  for (const std::int64_t groups : {4, 2}) {
    // A prompt, the next tokens, one token of each sequence, and only of some.
    const std::vector<AttentionOptions> steps{
        {.sequence_offset = {0, 20, 31}, .key_begin = {0, 64}, .key_end = {20, 75}},
        {.sequence_offset = {0, 3, 5}, .key_begin = {0, 64}, .key_end = {30, 128}},
        {.sequence_offset = {0, 1, 2}, .key_begin = {0, 64}, .key_end = {30, 65}},
        {.sequence_offset = {0, 0, 1}, .key_begin = {0, 64}, .key_end = {30, 100}}};
    for (std::size_t i = 0; i < steps.size(); ++i) {
      expect_those_of_our_kernels({.name = "step " + std::to_string(i),
                                   .groups = groups,
                                   .options = steps[i],
                                   .num_keys = 128},
                                  false, ImportanceMeasure::entropy);
    }
  }
}

TEST_F(FlashAttentionOnGpu, HasTheLogSumExpThatImportanceReads) {
  for (const auto measure : {ImportanceMeasure::peak, ImportanceMeasure::entropy}) {
    expect_those_of_our_kernels(
        {.name = "causal", .groups = 2, .options = {.sequence_offset = {0, 50, 120}}}, false,
        measure);
  }
  for (const auto measure : {ImportanceMeasure::received, ImportanceMeasure::received_peak}) {
    expect_those_of_our_kernels({.name = "received",
                                 .groups = 2,
                                 .options = {.sequence_offset = {0, 50, 120}, .causal = false}},
                                false, measure);
  }
}

TEST_F(FlashAttentionOnGpu, LeavesToOurKernelsWhatItCannotDo) {
  const at::Device device = ops::device_of(test_device());
  const Case cached{.name = "gradients of a cache",
                    .options = {.sequence_offset = {0, 3}, .key_begin = {2}, .key_end = {9}},
                    .num_keys = 12};
  const Case odd{.name = "heads of 12", .head_size = 12, .options = {.sequence_offset = {0, 30}}};
  const Calls calls("aten::_flash_attention_forward");
  for (const Case& c : {cached, odd}) {
    expect_alike(run(c, at::kBFloat16, device, true, ImportanceMeasure::none),
                 run(c, at::kFloat, at::kCPU, true, ImportanceMeasure::none), c.name);
  }
  const Case empty{.name = "no tokens", .options = {.sequence_offset = {0, 0}}};
  EXPECT_EQ(run(empty, at::kBFloat16, device, true, ImportanceMeasure::none).out.numel(), 0);
  EXPECT_EQ(calls.count(), 0);
}

TEST_F(FlashAttentionOnGpu, GivesTheSameBitsEveryTimeInDeterministicMode) {
  ops::make_deterministic();
  const at::Device device = ops::device_of(test_device());
  const Case c{.name = "", .groups = 2, .options = {.sequence_offset = {0, 300, 1000}}};
  const Results first = run(c, at::kBFloat16, device, true, ImportanceMeasure::none);
  for (int repeat = 0; repeat < 3; ++repeat) {
    const Results again = run(c, at::kBFloat16, device, true, ImportanceMeasure::none);
    EXPECT_TRUE(again.out.equal(first.out));
    EXPECT_TRUE(again.dq.equal(first.dq));
    EXPECT_TRUE(again.dk.equal(first.dk));
    EXPECT_TRUE(again.dv.equal(first.dv));
  }
}

}  // namespace
}  // namespace switchyard::train
