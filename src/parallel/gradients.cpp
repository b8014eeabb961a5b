#include "switchyard/parallel/gradients.h"

#include <ATen/ops/zeros.h>

#include "switchyard/core/error.h"

namespace switchyard::parallel {

void reduce_gradients(std::span<ops::Parameter* const> parameters, RankGroups& groups) {
  for (ops::Parameter* parameter : parameters) {
    SWITCHYARD_CHECK(parameter->grad.defined(), "{} has no gradient buffer", parameter->name);
    groups.replicas(*parameter).all_reduce_sum(parameter->grad, parameter->name);
  }
}

optim::GradNorms grad_norms(std::span<ops::Parameter* const> parameters, RankGroups& groups) {
  comm::Communicator& group = groups.expert_group();
  return optim::grad_norms(parameters, [&group](const at::Tensor& own_K) {
    at::Tensor all = at::zeros({group.size(), own_K.numel()}, own_K.options());
    all.select(0, group.rank()).copy_(own_K);
    group.all_reduce_sum(all, "gradient norms of experts");
    return all;
  });
}

}  // namespace switchyard::parallel
