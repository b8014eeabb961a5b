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

// Returns how many.
std::int64_t append_block_norms(const at::Tensor& grad, std::vector<at::Tensor>& norms) {
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
  return num_blocks + (covered < flat.numel() ? 1 : 0);
}

// Does this rank hold only its own share of the model's experts?
bool is_shared_out(const ops::Parameter& parameter) {
  return parameter.replicas == ops::ReplicaGroup::expert_replicas;
}

// [ranks, K] block norms of the experts, of all parameters one after the other.
at::Tensor norms_of_experts(std::span<ops::Parameter* const> parameters, const at::Tensor& own,
                            const std::vector<std::int64_t>& num_blocks,
                            const GatherExperts& gather) {
  std::vector<at::Tensor> experts{own.narrow(0, 0, 0)};
  std::int64_t begin = 0;
  for (std::size_t idx = 0; idx < parameters.size(); ++idx) {
    if (is_shared_out(*parameters[idx])) {
      experts.push_back(own.narrow(0, begin, num_blocks[idx]));
    }
    begin += num_blocks[idx];
  }
  const at::Tensor own_K = at::cat(experts);
  if (!gather) return own_K.unsqueeze(0);
  const at::Tensor all = gather(own_K);
  SWITCHYARD_CHECK(all.dim() == 2 && all.size(1) == own_K.numel() && all.is_contiguous(),
                   "gathered {} for {} norms of each rank", c10::str(all.sizes()), own_K.numel());
  return all;
}

double add_squares(double sum, const double* values, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) sum += values[i] * values[i];
  return sum;
}

}  // namespace

GradNorms grad_norms(std::span<ops::Parameter* const> parameters, const GatherExperts& gather) {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> norms;
  std::vector<std::int64_t> num_blocks;  // by parameter
  for (const ops::Parameter* parameter : parameters) {
    SWITCHYARD_CHECK(parameter->grad.defined(), "{} has no gradient buffer", parameter->name);
    num_blocks.push_back(append_block_norms(parameter->grad, norms));
  }
  if (norms.empty()) return {};
  const at::Tensor own = at::cat(norms).to(at::Device(at::kCPU), at::kDouble);
  const double* values = own.const_data_ptr<double>();
  const at::Tensor experts = norms_of_experts(parameters, own, num_blocks, gather);
  // In the order of the parameters, so that the experts of several ranks are added up as if one
  // rank held them.
  GradNorms result;
  double sum = 0.0;
  std::int64_t expert_begin = 0;
  for (std::size_t idx = 0; idx < parameters.size(); ++idx) {
    const std::int64_t count = num_blocks[idx];
    result.of_parameter.push_back(std::sqrt(add_squares(0.0, values, count)));
    if (is_shared_out(*parameters[idx])) {
      for (std::int64_t rank = 0; rank < experts.size(0); ++rank) {
        sum = add_squares(
            sum, experts.const_data_ptr<double>() + rank * experts.size(1) + expert_begin, count);
      }
      expert_begin += count;
    } else {
      sum = add_squares(sum, values, count);
    }
    values += count;
  }
  result.total = std::sqrt(sum);
  return result;
}

std::vector<double> sums_of_squares(std::span<const at::Tensor> grads) {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> norms;
  std::vector<std::int64_t> num_blocks;
  for (const at::Tensor& grad : grads) num_blocks.push_back(append_block_norms(grad, norms));
  std::vector<double> sums;
  if (norms.empty()) return sums;
  const at::Tensor own = at::cat(norms).to(at::Device(at::kCPU), at::kDouble);
  const double* values = own.const_data_ptr<double>();
  for (const std::int64_t count : num_blocks) {
    sums.push_back(add_squares(0.0, values, count));
    values += count;
  }
  return sums;
}

void clip_gradients(std::span<const at::Tensor> grads, double norm, double clip_norm) {
  if (clip_norm <= 0.0 || !(norm > clip_norm) || grads.empty()) return;
  const at::NoGradGuard no_grad;
  at::_foreach_mul_(at::TensorList(grads.data(), grads.size()), clip_norm / norm);
}

}  // namespace switchyard::optim
