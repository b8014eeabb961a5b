#include "switchyard/ops/parameter.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros_like.h>
#include <c10/util/accumulate.h>

#include "ops/kernel_device.h"
#include "switchyard/core/error.h"
#include "switchyard/core/hash.h"
#include "switchyard/core/philox.h"
#include "switchyard/kernels/initialize.h"

namespace switchyard::ops {
namespace {

void check_parts(const Parameter& parameter) {
  std::int64_t covered = 0;
  for (const LogicalTensor& part : parameter.parts) {
    SWITCHYARD_CHECK(part.offset == covered, "part {} of {} starts at element {}, expected {}",
                     part.name, parameter.name, part.offset, covered);
    const LogicalTensor::Slice held = part.held();
    SWITCHYARD_CHECK(held.begin >= 0 && held.begin % 4 == 0 && held.count >= 0 &&
                         held.begin + held.count <= c10::multiply_integers(part.shape),
                     "elements {} to {} of {}, which has {}", held.begin, held.begin + held.count,
                     part.name, c10::multiply_integers(part.shape));
    covered += held.count;
  }
  SWITCHYARD_CHECK(covered == parameter.numel(), "the parts of {} cover {} of {} elements",
                   parameter.name, covered, parameter.numel());
}

bool shares_storage(const Parameter& parameter) {
  return parameter.value.is_alias_of(parameter.master);
}

template <typename T>
void fill_normal(const at::Tensor& flat, const Parameter& parameter, std::uint64_t seed) {
  T* data = KernelDevice(at::kCPU, "initialize_normal").write<T>(flat);
  for (const LogicalTensor& part : parameter.parts) {
    kernels::cpu::initialize_normal(kernels::InitializeNormalParams<T>{.out = data + part.offset,
                                                                       .begin = part.held().begin,
                                                                       .count = part.held().count,
                                                                       .key = philox_key(seed),
                                                                       .tensor = xxh3(part.name),
                                                                       .std = parameter.init_std});
  }
}

}  // namespace

LogicalTensor::Slice LogicalTensor::held() const {
  return slice.value_or(Slice{.begin = 0, .count = c10::multiply_integers(shape)});
}

Parameter make_parameter(const ParameterSpec& spec, const PrecisionPolicy& policy) {
  const at::ScalarType accumulation = policy.accumulation();
  const at::ScalarType dtype = spec.keep_accumulation_type ? accumulation : policy.compute;
  const auto options = at::TensorOptions().device(policy.device);
  Parameter parameter;
  parameter.name = spec.name;
  parameter.parts = spec.parts;
  if (parameter.parts.empty()) parameter.parts = {{spec.name, 0, spec.shape}};
  parameter.initializer = spec.initializer;
  parameter.init_std = spec.init_std;
  parameter.decay = spec.decay;
  parameter.is_expert = spec.is_expert;
  parameter.replicas = spec.replicas;
  parameter.value = at::empty(spec.shape, options.dtype(dtype));
  parameter.master = dtype == accumulation ? parameter.value.detach()
                                           : at::empty(spec.shape, options.dtype(accumulation));
  parameter.value.set_requires_grad(true);
  check_parts(parameter);
  return parameter;
}

void initialize(Parameter& parameter, std::uint64_t seed) {
  const at::NoGradGuard no_grad;
  at::Tensor& master = parameter.master;
  switch (parameter.initializer) {
    case Initializer::zeros:
      master.zero_();
      break;
    case Initializer::ones:
      master.fill_(1.0);
      break;
    case Initializer::normal: {
      const at::Tensor host =
          master.is_cpu() ? master : at::empty(master.sizes(), master.options().device(at::kCPU));
      if (host.scalar_type() == at::kDouble) {
        fill_normal<double>(host, parameter, seed);
      } else {
        fill_normal<float>(host, parameter, seed);
      }
      if (!master.is_cpu()) master.copy_(host);
      break;
    }
  }
  publish(parameter);
}

void publish(Parameter& parameter) {
  if (shares_storage(parameter)) return;
  const at::NoGradGuard no_grad;
  parameter.value.copy_(parameter.master);
}

void zero_grad(Parameter& parameter) {
  if (parameter.grad.defined()) {
    parameter.grad.zero_();
  } else {
    parameter.grad = at::zeros_like(parameter.master);
  }
  parameter.value.mutable_grad().reset();
}

void collect_grad(Parameter& parameter) {
  at::Tensor& fresh = parameter.value.mutable_grad();
  if (!fresh.defined()) return;
  const at::NoGradGuard no_grad;
  if (parameter.grad.defined()) {
    parameter.grad.add_(fresh);
  } else {
    parameter.grad = fresh.to(parameter.master.scalar_type(), /*non_blocking=*/false,
                              /*copy=*/true);
  }
  fresh.reset();
}

}  // namespace switchyard::ops
