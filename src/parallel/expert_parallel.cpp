#include "switchyard/parallel/expert_parallel.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cumsum.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>
#include <ATen/ops/repeat_interleave.h>
#include <ATen/ops/stack.h>
#include <torch/csrc/autograd/custom_function.h>

#include <limits>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "switchyard/core/error.h"
#include "switchyard/moe/moe_ffn.h"
#include "switchyard/ops/op_span.h"
#include "switchyard/ops/row_gather.h"

namespace switchyard::parallel {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

// The way of one micro-batch's rows, from N at home to M that arrive here, and back.
struct Exchange : torch::CustomClassHolder {
  comm::Communicator* group = nullptr;
  std::string layer;
  std::vector<std::int64_t> num_sent;      // rows by rank
  std::vector<std::int64_t> num_received;  // rows by rank
  ops::Routing at_home;                    // its integers alone

  [[nodiscard]] at::Tensor out(const at::Tensor& rows_NX, const char* what) const {
    return move(rows_NX, num_sent, num_received, what);
  }
  [[nodiscard]] at::Tensor home(const at::Tensor& rows_MX, const char* what) const {
    return move(rows_MX, num_received, num_sent, what);
  }

 private:
  [[nodiscard]] at::Tensor move(const at::Tensor& rows, const std::vector<std::int64_t>& from,
                                const std::vector<std::int64_t>& to, const char* what) const {
    std::vector<std::int64_t> shape = rows.sizes().vec();
    shape[0] = std::accumulate(to.begin(), to.end(), std::int64_t{0});
    at::Tensor arrived = at::empty(shape, rows.options().requires_grad(false));
    const ops::OpSpan span("exchange_rows");
    group->all_to_all(rows.detach().contiguous(), from, arrived, to,
                      fmt::format("{} of {}", what, layer));
    return arrived;
  }
};

void save(AutogradContext* ctx, const c10::intrusive_ptr<Exchange>& exchange) {
  ctx->saved_data["exchange"] = at::IValue::make_capsule(exchange);
}

c10::intrusive_ptr<Exchange> saved_by(AutogradContext* ctx) {
  return c10::static_intrusive_pointer_cast<Exchange>(ctx->saved_data["exchange"].toCapsule());
}

// x_TH, row_weight_N at home -> rows_MH, row_weight_M that arrive here.
class SendRows : public torch::autograd::Function<SendRows> {
 public:
  static variable_list forward(AutogradContext* ctx, const Variable& x_TH,
                               const Variable& row_weight_N,
                               const c10::intrusive_ptr<Exchange>& exchange) {
    save(ctx, exchange);
    return {exchange->out(ops::row_gather(x_TH, exchange->at_home), "rows"),
            exchange->out(row_weight_N, "row weights")};
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto exchange = saved_by(ctx);
    const at::Tensor drows_NH = exchange->home(grads[0], "gradients of rows");
    const at::Tensor dweight_N = exchange->home(grads[1], "gradients of row weights");
    return {ops::row_gather_sum(drows_NH, {}, exchange->at_home), dweight_N, {}};
  }
};

// y_MH of the rows here -> y_TH at home.
class CollectResults : public torch::autograd::Function<CollectResults> {
 public:
  static Variable forward(AutogradContext* ctx, const Variable& y_MH,
                          const c10::intrusive_ptr<Exchange>& exchange) {
    save(ctx, exchange);
    return ops::row_gather_sum(exchange->home(y_MH, "results"), {}, exchange->at_home);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto exchange = saved_by(ctx);
    const at::Tensor dy_NH = ops::row_gather(grads[0], exchange->at_home);
    return {exchange->out(dy_NH, "gradients of results"), {}};
  }
};

// What arrives is ordered by rank, then expert, then token of that rank. As a routing: every row is
// a token with one expert, and an expert's tokens ascend. Row weights are left to be filled in.
// received_Re: rows by rank and local expert, on the device, where all of it is computed.
ops::Routing routing_of_arrivals(const at::Tensor& received_Re, std::int64_t num_ranks,
                                 std::int64_t num_rows) {
  SWITCHYARD_CHECK(num_rows < std::numeric_limits<std::int32_t>::max(), "{} rows on one rank",
                   num_rows);
  const std::int64_t num_experts = received_Re.size(0) / num_ranks;
  const auto by_expert = [&](const at::Tensor& value_Re) {
    return value_Re.view({num_ranks, num_experts}).t().reshape({-1});
  };
  const auto begins = [](const at::Tensor& count) {
    return at::cumsum(count, 0, at::kInt) - count;
  };
  const at::Tensor count_eR = by_expert(received_Re);
  const at::Tensor first_token_eR = by_expert(begins(received_Re));
  const at::Tensor first_row_eR = begins(count_eR);
  const at::Tensor row_M = at::arange(num_rows, received_Re.options());
  const at::Tensor row_token_M =
      row_M + at::repeat_interleave(first_token_eR - first_row_eR, count_eR, 0, num_rows);
  return {.num_tokens = num_rows,
          .num_experts = num_experts,
          .expert_offset_E1 = at::cat({first_row_eR.view({num_experts, num_ranks}).select(1, 0),
                                       at::full({1}, num_rows, received_Re.options())}),
          .row_token_N = row_token_M,
          .token_offset_T1 = at::arange(num_rows + 1, received_Re.options()),
          .token_row_N = at::empty_like(row_M).scatter_(0, row_token_M.to(at::kLong), row_M),
          .row_weight_N = {}};
}

class ExpertParallelDispatcher final : public moe::Dispatcher {
 public:
  ExpertParallelDispatcher(comm::Communicator& group, const moe::DispatcherBuild& build)
      : group_(group), name_(build.name), compute_(build.compute) {
    SWITCHYARD_CHECK(build.experts.count * group.size() == build.num_experts &&
                         build.experts.first == group.rank() * build.experts.count,
                     "{}: experts {} to {} of {} on rank {} of {}", name_, build.experts.first,
                     build.experts.first + build.experts.count - 1, build.num_experts, group.rank(),
                     group.size());
  }

  [[nodiscard]] std::unique_ptr<Pending> begin(const at::Tensor& x_TH,
                                               const ops::Routing& routing) override {
    auto pending = std::make_unique<Arrivals>();
    pending->exchange = c10::make_intrusive<Exchange>();
    Exchange& exchange = *pending->exchange;
    exchange.group = &group_;
    exchange.layer = name_;
    exchange.at_home = routing;
    exchange.at_home.row_weight_N =
        at::Tensor();  // it has a history, of which this would be a part
    const at::Tensor received_Re = exchange_counts(routing, exchange);
    const variable_list arrived = SendRows::apply(x_TH, routing.row_weight_N, pending->exchange);
    pending->rows_MH = arrived[0];
    pending->here = routing_of_arrivals(received_Re, group_.size(), arrived[0].size(0));
    pending->here.row_weight_N = arrived[1].index_select(0, pending->here.row_token_N);
    return pending;
  }

  [[nodiscard]] at::Tensor finish(std::unique_ptr<Pending> pending,
                                  const moe::ExpertWeights& weights) override {
    const auto* arrivals = dynamic_cast<const Arrivals*>(pending.get());
    SWITCHYARD_CHECK(arrivals != nullptr, "finish() got what another dispatcher began");
    const at::Tensor y_MH = moe::moe_ffn(arrivals->rows_MH, arrivals->here, weights.w1_E2FH,
                                         weights.w2_EHF, compute_, weights.sink);
    return CollectResults::apply(y_MH, arrivals->exchange);
  }

 private:
  struct Arrivals final : Pending {
    c10::intrusive_ptr<Exchange> exchange;
    at::Tensor rows_MH;
    ops::Routing here;
  };

  // Returns the rows that arrive here, by rank and local expert. The one wait of the host, for the
  // numbers of rows by rank, which sizes of tensors depend on.
  [[nodiscard]] at::Tensor exchange_counts(const ops::Routing& routing, Exchange& exchange) {
    const ops::OpSpan span("exchange_counts");
    const at::Tensor sent_E = routing.expert_offset_E1.diff();
    const std::int64_t per_rank = routing.num_experts / group_.size();
    const std::vector<std::int64_t> rows(static_cast<std::size_t>(group_.size()), per_rank);
    at::Tensor received_Re = at::empty_like(sent_E);
    group_.all_to_all(sent_E, rows, received_Re, rows, "row counts of " + name_);
    const at::Tensor by_rank = at::stack({sent_E, received_Re})
                                   .view({2, group_.size(), per_rank})
                                   .sum(2, /*keepdim=*/false, at::kLong)
                                   .to(at::kCPU);
    const auto* count = by_rank.const_data_ptr<std::int64_t>();
    exchange.num_sent = {count, count + group_.size()};
    exchange.num_received = {count + group_.size(), count + 2 * group_.size()};
    return received_Re;
  }

  comm::Communicator& group_;
  std::string name_;
  std::shared_ptr<moe::ExpertCompute> compute_;
};

}  // namespace

moe::ExpertPlacement expert_placement(RankGroups& groups, std::int64_t num_experts) {
  if (groups.layout().expert == 1) return {};
  return {.experts = groups.layout().experts(num_experts),
          .make_dispatcher = [&groups](const moe::DispatcherBuild& build) {
            return std::make_unique<ExpertParallelDispatcher>(groups.expert_group(), build);
          }};
}

}  // namespace switchyard::parallel
