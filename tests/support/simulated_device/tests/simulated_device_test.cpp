// The simulated device itself: it gives what the CPU gives, and sees the mistakes it is made for.
#include "support/simulated_device/simulated_device.h"

#include <ATen/Context.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/add.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cumsum.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/nonzero.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/repeat_interleave.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "support/gpu_simulator/simulator.h"
#include "support/tensors.h"
#include "switchyard/kernels/dropout.h"
#include "switchyard/ops/device.h"
#include "switchyard/ops/op_span.h"
#include "switchyard/ops/out_of_memory.h"
#include "switchyard/ops/rms_norm.h"

namespace switchyard::simulated_device {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::random_normal;

const at::Device kDevice(at::kCUDA, 0);

at::Tensor random_fp32(const std::vector<std::int64_t>& shape, std::uint64_t seed) {
  return random_normal(shape, seed).to(at::kFloat);
}

std::string error_of(const std::function<void()>& run) {
  try {
    run();
  } catch (const std::exception& error) {
    return error.what();
  }
  return "no error";
}

// The kernel of ops::dropout on these addresses.
void drop(const float* x, float* y, const std::int64_t* token_idx_T) {
  kernels::cuda::dropout(kernels::DropoutParams<float>{.x = x,
                                                       .y = y,
                                                       .token_idx_T = token_idx_T,
                                                       .num_tokens = 2,
                                                       .row_size = 4,
                                                       .rate = 0.5,
                                                       .key = {},
                                                       .step = 0,
                                                       .place = 0},
                         {});
}

TEST(SimulatedDevice, IsACudaDeviceToLibTorch) {
  EXPECT_TRUE(at::hasCUDA());
  EXPECT_EQ(ops::device_of("cuda"), kDevice);
  EXPECT_TRUE(at::ones({2}).to(kDevice).is_cuda());
}

TEST(SimulatedDevice, ItsOperatorsGiveWhatTheCpuGives) {
  const at::Tensor a = random_fp32({6, 5}, 1);
  const at::Tensor b = random_fp32({5, 6}, 2);
  const at::Tensor index = at::tensor({4, 0, 0}, at::kLong);
  const std::vector<std::function<at::Tensor(at::Device)>> computations{
      [&](at::Device on) { return a.to(on).add(b.to(on).t(), 2.0); },
      [&](at::Device on) { return a.to(on).mul(3.0).sub(at::full({}, 0.5)); },
      [&](at::Device on) { return at::mm(a.to(on), b.to(on)); },
      [&](at::Device on) { return at::linear(a.to(on), b.to(on).t().contiguous()); },
      [&](at::Device on) { return a.to(on).index_select(0, index.to(on)); },
      [&](at::Device on) {
        return at::cat({a.to(on), b.to(on).t()}).narrow(0, 3, 6);
      },
      [&](at::Device on) {
        return at::stack({a.to(on).sum(), a.to(on).select(0, 2).norm()});
      },
      [&](at::Device on) { return at::cumsum(a.to(on).view({-1}), 0).unfold(0, 4, 2); },
      [&](at::Device on) { return a.to(on, at::kBFloat16).mul(b.to(on, at::kBFloat16).t()); },
      [&](at::Device on) {
        at::Tensor out = a.to(on).clone();
        out.select(1, 1).fill_(7.0).add_(at::arange(6, at::TensorOptions().device(on)));
        at::_foreach_mul_({out}, 0.5);
        return out;
      },
      [&](at::Device on) {
        at::Tensor out = at::empty({6, 6}, at::TensorOptions().device(on));
        return at::mm_out(out, a.to(on), b.to(on));
      },
      [&](at::Device on) {
        const at::Tensor x = a.clone().to(on).requires_grad_();
        x.square().mul(a.to(on)).sum().backward();
        return x.grad();
      }};
  for (std::size_t i = 0; i < computations.size(); ++i) {
    const at::Tensor result = computations[i](kDevice);
    EXPECT_EQ(result.device(), kDevice) << "computation " << i;
    EXPECT_TRUE(result.cpu().equal(computations[i](at::kCPU))) << "computation " << i;
  }
}

TEST(SimulatedDevice, FreshMemoryIsNotANumber) {
  for (const at::ScalarType type : {at::kFloat, at::kDouble, at::kBFloat16}) {
    const at::Tensor fresh = at::empty({9}, at::TensorOptions().device(kDevice).dtype(type));
    EXPECT_TRUE(fresh.isnan().all().item<bool>());
  }
}

TEST(SimulatedDevice, OperatorsRefuseTensorsOfSeveralDevices) {
  const at::Tensor host = at::ones({2, 2});
  const at::Tensor here = host.to(kDevice);
  const at::Tensor other = host.to(at::Device(at::kCUDA, 1));
  const at::Tensor index = at::tensor({1, 0}, at::kLong);
  EXPECT_THAT(error_of([&] { (void)at::mm(here, host); }), HasSubstr("on the CPU beside others"));
  EXPECT_THAT(error_of([&] { (void)host.index_select(0, index.to(kDevice)); }),
              HasSubstr("on the CPU beside others"));
  EXPECT_THAT(error_of([&] { (void)here.index_select(0, index); }),
              HasSubstr("on the CPU beside others"));
  EXPECT_THAT(error_of([&] { (void)here.index_select(0, at::full({}, 1, at::kLong)); }),
              HasSubstr("on the CPU beside others"));
  EXPECT_THAT(error_of([&] { (void)at::cat({here, host}); }), HasSubstr("on the CPU"));
  EXPECT_THAT(error_of([&] { (void)at::mm(here, other); }), HasSubstr("cuda:1"));
  EXPECT_NE(error_of([&] { (void)here.add(other); }), "no error");
  EXPECT_NE(error_of([&] { at::full({}, 1.0).add_(here.sum()); }), "no error");
  at::Tensor out = at::empty({2, 2});
  EXPECT_THAT(error_of([&] { at::mm_out(out, here, here); }), HasSubstr("on the CPU"));
}

// A GPU would read them as addresses of its own memory.
TEST(SimulatedDevice, AFusedOptimizerRefusesCountsOfStepsOnTheHost) {
  const auto update_with = [](const at::Tensor& count) {
    const at::Tensor weight = at::ones({4}).to(kDevice);
    const at::Tensor moment = at::zeros({4}).to(kDevice);
    at::_fused_adamw_({weight}, {weight.clone()}, {moment}, {moment.clone()}, {}, {count},
                      /*lr=*/0.1, /*beta1=*/0.9, /*beta2=*/0.95, /*weight_decay=*/0.0,
                      /*eps=*/1e-8, /*amsgrad=*/false, /*maximize=*/false);
  };
  EXPECT_EQ(error_of([&] { update_with(at::ones({}).to(kDevice)); }), "no error");
  EXPECT_THAT(error_of([&] { update_with(at::ones({})); }),
              HasSubstr("_fused_adamw_ got a list with a tensor of [] on cpu"));
}

TEST(SimulatedDevice, OurOpsRefuseTensorsOfAnotherDevice) {
  const at::Tensor x = at::ones({2, 4}).to(kDevice);
  EXPECT_THAT(
      error_of([&] { (void)ops::rms_norm(x, at::ones({4}).to(at::Device(at::kCUDA, 1)), 0.0); }),
      HasSubstr("rms_norm got a tensor on cuda:1, expected cuda:0"));
  EXPECT_THAT(error_of([&] { (void)ops::rms_norm(x, at::ones({4}), 0.0); }),
              HasSubstr("rms_norm got a tensor on cpu, expected cuda:0"));
}

TEST(SimulatedDevice, SaysWhatMadeTheHostWaitAndWhatWasCopied) {
  const at::Tensor pinned = at::ones({3}).pin_memory();
  (void)take_traffic();
  const at::Tensor here = pinned.to(kDevice, /*non_blocking=*/true);
  (void)here.mul(2.0).sum();
  const Traffic without = take_traffic();
  EXPECT_THAT(without.waits, IsEmpty()) << to_string(without);
  EXPECT_THAT(without.copies_to_host, IsEmpty());

  (void)here.sum().item<float>();
  (void)here.cpu();
  (void)at::nonzero(here);
  (void)at::ones({3}).to(kDevice);
  ops::synchronize(kDevice);
  const Traffic with = take_traffic();
  EXPECT_EQ(total(with.waits), 5) << to_string(with);
  EXPECT_EQ(total(with.copies_to_host), 2) << to_string(with);
}

TEST(SimulatedDevice, TheHostWaitsForALengthThatItWasNotTold) {
  const at::Tensor row = at::arange(3, at::kLong).to(kDevice);
  const at::Tensor repeats = at::tensor({2, 0, 1}, at::kLong).to(kDevice);
  (void)take_traffic();
  (void)at::repeat_interleave(row, repeats, /*dim=*/0, /*output_size=*/3);
  EXPECT_THAT(take_traffic().waits, IsEmpty());
  (void)at::repeat_interleave(row, repeats, /*dim=*/0);
  EXPECT_EQ(total(take_traffic().waits), 1);
}

TEST(SimulatedDevice, RunsOutOfMemoryAtALimitAndHasItAgainWhenTensorsGo) {
  const auto bytes = at::TensorOptions().device(at::Device(at::kCUDA, 3)).dtype(at::kByte);
  set_byte_limit(1000);
  at::Tensor held = at::empty({600}, bytes);
  try {
    (void)at::empty({500}, bytes);
    ADD_FAILURE() << "1100 of 1000 bytes were there";
  } catch (const c10::Error& error) {
    EXPECT_TRUE(ops::is_out_of_memory(error)) << error.what();
    EXPECT_THAT(ops::short_message(error), HasSubstr("Tried to allocate 500"));
  }
  held.reset();
  EXPECT_NO_THROW((void)at::empty({500}, bytes));
  EXPECT_EQ(ops::memory_bytes(bytes.device()), 600U);
  set_byte_limit(0);
}

TEST(SimulatedDevice, HasAWorkerThreadOfAutogradForEachDevice) {
  std::vector<std::thread> ranks;
  std::vector<at::Tensor> gradients(kNumDevices);
  for (int rank = 0; rank < kNumDevices; ++rank) {
    ranks.emplace_back([&gradients, rank] {
      const at::Device device(at::kCUDA, static_cast<c10::DeviceIndex>(rank));
      const at::Tensor x = random_fp32({3, 4}, 1).to(device).requires_grad_();
      ops::rms_norm(x, at::ones({4}).to(device), 1e-6).square().sum().backward();
      gradients[static_cast<std::size_t>(rank)] = x.grad();
    });
  }
  for (std::thread& rank : ranks) rank.join();
  for (int rank = 0; rank < kNumDevices; ++rank) {
    EXPECT_EQ(gradients[static_cast<std::size_t>(rank)].device().index(), rank);
    EXPECT_TRUE(gradients[static_cast<std::size_t>(rank)].cpu().equal(gradients[0].cpu()));
  }
}

TEST(SimulatedDevice, AKernelThatTouchesHostMemoryIsAnError) {
  const at::Tensor x = at::ones({2, 4}).to(kDevice);
  const at::Tensor y = at::empty({2, 4}, x.options());
  const at::Tensor index = at::arange(2, at::kLong);
  const auto drop_with = [&](const at::Tensor& index_T) {
    drop(x.const_data_ptr<float>(), y.mutable_data_ptr<float>(),
         index_T.const_data_ptr<std::int64_t>());
  };
  EXPECT_NO_THROW(drop_with(index.to(kDevice)));
  EXPECT_THAT(error_of([&] { drop_with(index); }),
              AllOf(HasSubstr("drop_rows"), HasSubstr("reads 8 bytes"), HasSubstr("host memory")));
}

TEST(SimulatedDeviceDeathTest, HostCodeThatTouchesDeviceMemoryEndsTheProgram) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");  // a fork would share the memory
  const at::Tensor here = at::ones({4}).to(kDevice);
  const auto* const values = static_cast<const volatile float*>(here.const_data_ptr<float>());
  const ops::OpSpan span("a_span");
  EXPECT_DEATH(
      (void)values[2],
      "host code in a_span, no operator, touches byte 8 of an allocation of 16 bytes, made in "
      "no span by aten::empty");
}

TEST(SimulatedDeviceDeathTest, AKernelThatTouchesReleasedMemoryEndsTheProgram) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const at::Tensor y = at::empty({2, 4}, at::TensorOptions().device(kDevice));
  const at::Tensor index = at::arange(2, at::kLong).to(kDevice);
  const float* const gone = at::ones({2, 4}).to(kDevice).const_data_ptr<float>();
  EXPECT_DEATH(drop(gone, y.mutable_data_ptr<float>(), index.const_data_ptr<std::int64_t>()),
               "a kernel in no span, no operator, touches device memory that is not allocated");
}

}  // namespace
}  // namespace switchyard::simulated_device
