#include "switchyard/optim/grad_norm.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/linalg_vector_norm.h>

#include <cmath>
#include <cstdint>
#include <vector>

#include "switchyard/core/error.h"

namespace switchyard::optim {
namespace {

// Elements whose squares are summed in the accumulation type before the sum goes on in fp64.
constexpr std::int64_t kBlock = 16384;

void append_block_norms(const at::Tensor& grad, std::vector<at::Tensor>& norms) {
  const at::Tensor flat = grad.reshape({-1});
  const std::int64_t num_blocks = flat.numel() / kBlock;
  const std::int64_t covered = num_blocks * kBlock;
  const std::int64_t dims[] = {1};
  if (num_blocks > 0) {
    const at::Tensor blocks = flat.narrow(0, 0, covered).view({num_blocks, kBlock});
    norms.push_back(at::linalg_vector_norm(blocks, 2, dims));
  }
  if (covered < flat.numel()) {
    const at::Tensor rest = flat.narrow(0, covered, flat.numel() - covered).view({1, -1});
    norms.push_back(at::linalg_vector_norm(rest, 2, dims));
  }
}

}  // namespace

double global_grad_norm(std::span<ops::Parameter* const> parameters) {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> norms;
  for (const ops::Parameter* parameter : parameters) {
    SWITCHYARD_CHECK(parameter->grad.defined(), "{} has no gradient buffer", parameter->name);
    append_block_norms(parameter->grad, norms);
  }
  if (norms.empty()) return 0.0;
  const at::Tensor all = at::cat(norms).to(at::Device(at::kCPU), at::kDouble);
  const double* values = all.const_data_ptr<double>();
  double sum = 0.0;
  for (std::int64_t i = 0; i < all.numel(); ++i) sum += values[i] * values[i];
  return std::sqrt(sum);
}

void clip_gradients(std::span<ops::Parameter* const> parameters, double norm, double clip_norm) {
  if (clip_norm <= 0.0 || !(norm > clip_norm)) return;
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> grads;
  for (const ops::Parameter* parameter : parameters) grads.push_back(parameter->grad);
  at::_foreach_mul_(grads, clip_norm / norm);
}

}  // namespace switchyard::optim
