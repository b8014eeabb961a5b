// The stand-in for CUDA's flash attention refuses what CUDA's would misread in silence.
#include <ATen/ops/_flash_attention_forward.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "switchyard/ops/out_of_memory.h"

namespace switchyard::simulated_device {
namespace {

using ::testing::HasSubstr;

constexpr auto kGpu = at::kCUDA;

// Two sequences of 3 and 2 queries, 4 heads over 2 of keys.
struct Arguments {
  at::Tensor q = at::ones({5, 4, 16}, at::TensorOptions().dtype(at::kBFloat16).device(kGpu));
  at::Tensor k = at::ones({8, 2, 16}, at::TensorOptions().dtype(at::kBFloat16).device(kGpu));
  at::Tensor query_offset = at::tensor({0, 3, 5}, at::kInt).to(kGpu);
  at::Tensor key_offset = at::tensor({0, 4, 8}, at::kInt).to(kGpu);
  at::Tensor num_keys = at::tensor({3, 4}, at::kInt).to(kGpu);
  std::int64_t max_queries = 3;
  std::int64_t max_keys = 4;
};

std::string error_with(const std::function<void(Arguments&)>& change) {
  Arguments a;
  change(a);
  try {
    (void)at::_flash_attention_forward(a.q, a.k, a.k, a.query_offset, a.key_offset, a.max_queries,
                                       a.max_keys, 0.0, true, false, std::nullopt, std::nullopt,
                                       std::nullopt, a.num_keys);
  } catch (const c10::Error& error) {
    return ops::short_message(error);
  }
  return "no error";
}

TEST(SimulatedDeviceFlash, RefusesWhatAGpuWouldMisread) {
  EXPECT_EQ(error_with([](Arguments&) {}), "no error");
  EXPECT_THAT(error_with([](Arguments& a) { a.query_offset = a.query_offset.to(at::kCPU); }),
              HasSubstr("cum_seq_q is on cpu"));
  EXPECT_THAT(error_with([](Arguments& a) { a.key_offset = a.key_offset.to(at::kLong); }),
              HasSubstr("cum_seq_k must be contiguous int32"));
  EXPECT_THAT(error_with([](Arguments& a) { a.num_keys = a.num_keys.narrow(0, 0, 1); }),
              HasSubstr("seqused_k has 1 numbers, expected 2"));
  EXPECT_THAT(error_with([](Arguments& a) {
                a.num_keys = at::tensor({3, 5}, at::kInt).to(kGpu);
              }),
              HasSubstr("keys 4 + 5 of 8"));
  EXPECT_THAT(error_with([](Arguments& a) { a.max_queries = 2; }), HasSubstr("max_q is 2 of 3"));
  EXPECT_THAT(error_with([](Arguments& a) { a.max_keys = 8; }), HasSubstr("max_k is 8 of 4"));
  EXPECT_THAT(error_with([](Arguments& a) { a.q = a.q.to(at::kFloat); }),
              HasSubstr("takes fp16 and bf16"));
  EXPECT_THAT(error_with([](Arguments& a) { a.q = a.q.narrow(2, 0, 12); }), HasSubstr("expected"));
  EXPECT_THAT(error_with([](Arguments& a) {
                a.q = a.q.narrow(2, 0, 12);
                a.k = a.k.narrow(2, 0, 12);
              }),
              HasSubstr("heads of 12"));
  EXPECT_THAT(error_with([](Arguments& a) {
                a.q = a.q.narrow(2, 4, 8);
                a.k = a.k.narrow(2, 4, 8);
              }),
              HasSubstr("not aligned to 16 bytes"));
  EXPECT_THAT(error_with([](Arguments& a) { a.k = a.k.to(at::Device(at::kCUDA, 1)); }),
              HasSubstr("is on cuda:1"));
}

// Of single queries CUDA's takes the heads that share keys for a sequence: one of each is needed.
TEST(SimulatedDeviceFlash, RefusesASequenceWithoutAQueryBesideOthersOfOne) {
  EXPECT_THAT(error_with([](Arguments& a) {
                a.q = a.q.narrow(0, 0, 1);
                a.query_offset = at::tensor({0, 0, 1}, at::kInt).to(kGpu);
                a.max_queries = 1;
              }),
              HasSubstr("not of every sequence"));
}

}  // namespace
}  // namespace switchyard::simulated_device
