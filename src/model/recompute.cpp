#include "model/recompute.h"

#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <array>
#include <cstddef>
#include <optional>
#include <utility>

#include "switchyard/core/error.h"

namespace switchyard::model {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

// What the second pass needs beside x.
struct Pass : torch::CustomClassHolder {
  Block* block = nullptr;
  Batch batch;
  ForwardContext context;
  std::optional<routing::RouteResult> first;
};

// The sums' differentiable members, in the order in which the function returns them; the last is
// undefined for most routers.
std::array<at::Tensor*, 4> differentiable(ops::RouteSums& sums) {
  return {&sums.prob_sum_BE, &sums.entropy_sum, &sums.z_sum, &sums.weight_sum_E};
}

void append_sums(LayerRoute& route, variable_list& outputs) {
  for (const at::Tensor* sum : differentiable(route.sums)) {
    if (sum->defined()) outputs.push_back(*sum);
  }
}

// Autograd writes its history into the tensors that the function returns; those that the graph
// itself keeps must be others, or it would own itself.
routing::RouteResult without_history(const LayerRoute& route) {
  routing::RouteResult kept{.routing = route.routing, .sums = route.sums};
  kept.routing.row_weight_N = kept.routing.row_weight_N.variable_data();
  for (at::Tensor* sum : differentiable(kept.sums)) {
    if (sum->defined()) *sum = sum->variable_data();
  }
  return kept;
}

class Recomputed : public torch::autograd::Function<Recomputed> {
 public:
  // Autograd runs this with gradients off, so the block leaves no graph.
  static variable_list forward(AutogradContext* ctx, const Variable& x_TH,
                               const c10::intrusive_ptr<Pass>& pass,
                               std::optional<LayerRoute>& route) {
    Block::Output out = pass->block->forward(x_TH, pass->batch, pass->context);
    variable_list outputs{out.x_TH};
    if (out.route) {
      pass->first = without_history(*out.route);
      append_sums(*out.route, outputs);
      route = std::move(out.route);
    }
    ctx->set_materialize_grads(false);
    ctx->save_for_backward({x_TH});
    ctx->saved_data["pass"] = at::IValue::make_capsule(pass);
    return outputs;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto capsule = ctx->saved_data["pass"].toCapsule();
    const auto* pass = static_cast<const Pass*>(capsule.get());
    const at::Tensor x_TH = ctx->get_saved_variables()[0].detach().requires_grad_();
    variable_list outputs;
    {
      const c10::AutoGradMode with_graph(true);
      Block::Output out = pass->block->forward(x_TH, pass->batch, pass->context,
                                               pass->first ? &*pass->first : nullptr);
      outputs.push_back(out.x_TH);
      if (out.route) append_sums(*out.route, outputs);
    }
    variable_list roots;
    variable_list root_grads;
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      if (!grads[i].defined()) continue;  // nobody used that output
      roots.push_back(outputs[i]);
      root_grads.push_back(grads[i]);
    }
    // Parameters get their gradients here, through .grad and sinks as ever.
    torch::autograd::backward(roots, root_grads);
    return {x_TH.grad(), {}, {}};
  }
};

}  // namespace

Block::Output forward_recomputed(Block& block, const at::Tensor& x_TH, const Batch& batch,
                                 const ForwardContext& context) {
  SWITCHYARD_CHECK(context.cache == nullptr, "a block with cached keys cannot be computed again");
  // Without gradients nothing is kept anyway, and if x needs none, nobody would ask for the second
  // pass, which the parameters need.
  if (!c10::GradMode::is_enabled() || !x_TH.requires_grad()) {
    return block.forward(x_TH, batch, context);
  }
  auto pass = c10::make_intrusive<Pass>();
  pass->block = &block;
  pass->batch = batch;
  pass->context = context;
  Block::Output output;
  const variable_list out = Recomputed::apply(x_TH, pass, output.route);
  output.x_TH = out[0];
  if (output.route) {
    std::size_t next = 1;
    for (at::Tensor* sum : differentiable(output.route->sums)) {
      if (sum->defined()) *sum = out[next++];
    }
  }
  return output;
}

}  // namespace switchyard::model
