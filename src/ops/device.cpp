#include "switchyard/ops/device.h"

#include <ATen/Context.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <fmt/format.h>

#include <cstdlib>

#include "switchyard/core/error.h"
#include "switchyard/core/host.h"
#include "switchyard/core/ranks.h"
#include "switchyard/core/text.h"
#include "switchyard/kernels/built_with_cuda.h"

namespace switchyard::ops {
namespace {

// Read by LibTorch's allocator when it first gives out memory of a GPU. Where k varies, so do sizes
// from step to step: blocks that grow and shrink fit again, blocks of fixed size leave gaps.
void choose_allocator_settings() {
  if (std::getenv("PYTORCH_CUDA_ALLOC_CONF") != nullptr) return;  // the older name of the same
  ::setenv("PYTORCH_ALLOC_CONF", "expandable_segments:True", /*overwrite=*/0);
}

// Products are what their types say: fp32 without TF32, which containers switch on by the
// environment, and bf16 whose parts, where a product is split, are added up in fp32. Written once:
// ranks that are threads may be reading it.
void choose_arithmetic() {
  at::Context& context = at::globalContext();
  if (context.float32MatmulPrecision() != at::Float32MatmulPrecision::HIGHEST) {
    context.setFloat32MatmulPrecision("highest");
  }
  using Reduction = at::CuBLASReductionOption;
  if (context.allowBF16ReductionCuBLAS() != Reduction::DisallowReducedPrecisionAllowSplitK) {
    context.setAllowBF16ReductionCuBLAS(/*allow_reduced_precision=*/false, /*allow_splitk=*/true);
  }
}

}  // namespace

bool built_with_cuda() {
  return kernels::cuda::is_built();
}

c10::Device device_of(const std::string& name) {
  if (name == "cpu") return c10::kCPU;
  if (name != "cuda") {
    throw UsageError(fmt::format("unknown device '{}'", name), "known: cpu, cuda");
  }
  if (!built_with_cuda()) {
    throw UsageError("train.device is cuda, but this program was built without CUDA kernels",
                     "configure with -DSWITCHYARD_CUDA=ON, or set train.device=cpu");
  }
  if (!at::hasCUDA()) {
    throw UsageError("train.device is cuda, but LibTorch finds no GPU it can use",
                     "`switchyard doctor` says what is there; train.device=cpu runs without");
  }
  choose_allocator_settings();
  choose_arithmetic();
  return c10::impl::VirtualGuardImpl(c10::kCUDA).getDevice();
}

c10::Device use_gpu(std::int64_t idx) {
  (void)device_of("cuda");
  const c10::impl::VirtualGuardImpl gpus(c10::kCUDA);
  if (gpus.deviceCount() == 1) idx = 0;  // whoever started the ranks shows each its own
  if (idx >= gpus.deviceCount()) {
    throw UsageError(fmt::format("this is rank {} of this machine, where LibTorch finds {}", idx,
                                 counted(gpus.deviceCount(), "GPU")),
                     kAGpuForEachRank);
  }
  const c10::Device device(c10::kCUDA, static_cast<c10::DeviceIndex>(idx));
  gpus.setDevice(device);
  return device;
}

void make_deterministic() {
  // cuBLAS reads it when it starts; without it some products differ from run to run.
  ::setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);
  at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/false);
  // Deterministic also means to fill every new tensor with NaN. No operator of ours reads what it
  // has not written (the tests' devices begin as NaN), and it would cost a pass over memory each.
  at::globalContext().setDeterministicFillUninitializedMemory(false);
  at::globalContext().setBenchmarkCuDNN(false);
}

void synchronize(c10::Device device) {
  if (device.is_cpu()) return;
  c10::impl::VirtualGuardImpl(device.type()).synchronizeDevice(device.index());
}

std::uint64_t memory_bytes(c10::Device device) {
  if (device.is_cpu()) return resident_bytes();
  const auto stats = c10::getDeviceAllocator(device.type())->getDeviceStats(device.index());
  return static_cast<std::uint64_t>(stats.allocated_bytes[0].peak);  // 0: of all pools
}

void forget_peak_memory(c10::Device device) {
  if (device.is_cpu()) return;
  c10::getDeviceAllocator(device.type())->resetPeakStats(device.index());
}

}  // namespace switchyard::ops
