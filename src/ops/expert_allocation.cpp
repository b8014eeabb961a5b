#include "switchyard/ops/expert_allocation.h"

#include <ATen/ops/empty.h>

#include "ops/kernel_device.h"
#include "ops/sequences.h"
#include "switchyard/core/error.h"
#include "switchyard/kernels/expert_allocation.h"
#include "switchyard/ops/op_span.h"

namespace switchyard::ops {
namespace {

kernels::AllocationRule rule_of(AllocationRule rule) {
  switch (rule) {
    case AllocationRule::proportional:
      return kernels::AllocationRule::proportional;
    case AllocationRule::budget:
      return kernels::AllocationRule::budget;
    case AllocationRule::ceiling:
      break;
  }
  return kernels::AllocationRule::ceiling;
}

template <typename T>
at::Tensor allocate(const at::Tensor& importance_T, const at::Tensor& valid_T,
                    const at::Tensor& sequence_offset_B1, const AllocationOptions& options) {
  const KernelDevice on(importance_T.device(), "expert_allocation");
  at::Tensor k_T = at::empty(importance_T.sizes(), importance_T.options().dtype(at::kInt));
  const kernels::ExpertAllocationParams<T> params{
      .num_tokens = importance_T.size(0),
      .num_sequences = sequence_offset_B1.size(0) - 1,
      .importance_T = on.read<T>(importance_T),
      .valid_T = on.read_if_defined<bool>(valid_T),
      .sequence_offset_B1 = on.read<std::int32_t>(sequence_offset_B1),
      .k_mean = options.k_mean,
      .k_min = options.k_min,
      .k_max = options.k_max,
      .rule = rule_of(options.rule),
      .k_T = on.write<std::int32_t>(k_T)};
  on.run([&] { kernels::cpu::expert_allocation(params); },
         [&](kernels::Stream stream) { kernels::cuda::expert_allocation(params, stream); });
  return k_T;
}

}  // namespace

at::Tensor expert_allocation(const at::Tensor& importance_T, const at::Tensor& valid_T,
                             const at::Tensor& sequence_offset_B1,
                             const AllocationOptions& options) {
  const OpSpan span("expert_allocation");
  SWITCHYARD_CHECK(importance_T.dim() == 1 && (importance_T.scalar_type() == at::kFloat ||
                                               importance_T.scalar_type() == at::kDouble),
                   "importance must be fp32 or fp64 [T]");
  check_sequences(valid_T, sequence_offset_B1, importance_T.size(0), importance_T.device());
  const auto k_min = static_cast<double>(options.k_min);
  const auto k_max = static_cast<double>(options.k_max);
  const bool is_mean = options.rule != AllocationRule::ceiling;
  SWITCHYARD_CHECK(0 <= k_min && k_min <= k_max && options.k_mean >= 0 &&
                       (!is_mean || (k_min <= options.k_mean && options.k_mean <= k_max)),
                   "expected 0 <= k_min <= k_mean <= k_max, got {}, {}, {}", options.k_min,
                   options.k_mean, options.k_max);
  const at::Tensor importance = importance_T.detach().contiguous();
  const at::Tensor valid = valid_T.defined() ? valid_T.contiguous() : valid_T;
  return importance.scalar_type() == at::kDouble
             ? allocate<double>(importance, valid, sequence_offset_B1, options)
             : allocate<float>(importance, valid, sequence_offset_B1, options);
}

}  // namespace switchyard::ops
