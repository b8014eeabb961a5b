#include "switchyard/parallel/expert_parallel.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/tensor.h>
#include <torch/csrc/autograd/custom_function.h>

#include <memory>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "switchyard/core/error.h"
#include "switchyard/moe/moe_ffn.h"
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

  [[nodiscard]] at::Tensor out(const at::Tensor& at_home, const char* what) const {
    return move(at_home, num_sent, num_received, what);
  }
  [[nodiscard]] at::Tensor home(const at::Tensor& here, const char* what) const {
    return move(here, num_received, num_sent, what);
  }

 private:
  [[nodiscard]] at::Tensor move(const at::Tensor& rows, const std::vector<std::int64_t>& from,
                                const std::vector<std::int64_t>& to, const char* what) const {
    std::vector<std::int64_t> shape = rows.sizes().vec();
    shape[0] = std::accumulate(to.begin(), to.end(), std::int64_t{0});
    at::Tensor arrived = at::empty(shape, rows.options().requires_grad(false));
    group->all_to_all(rows.detach().contiguous(), from, arrived, to,
                      fmt::format("{} of {}", what, layer));
    return arrived;
  }
};

// Keeps the exchange and the integers of a routing for the backward pass.
void save(AutogradContext* ctx, const c10::intrusive_ptr<Exchange>& exchange,
          const ops::Routing& routing) {
  ctx->save_for_backward({routing.expert_offset_E1, routing.row_token_N, routing.token_offset_T1,
                          routing.token_row_N});
  ctx->saved_data["num_tokens"] = routing.num_tokens;
  ctx->saved_data["num_experts"] = routing.num_experts;
  ctx->saved_data["exchange"] = at::IValue::make_capsule(exchange);
}

struct Saved {
  c10::intrusive_ptr<torch::CustomClassHolder> holder;
  ops::Routing routing;
  [[nodiscard]] const Exchange& exchange() const { return static_cast<Exchange&>(*holder); }
};

Saved saved_by(AutogradContext* ctx) {
  const variable_list integers = ctx->get_saved_variables();
  return {.holder = ctx->saved_data["exchange"].toCapsule(),
          .routing = {.num_tokens = ctx->saved_data["num_tokens"].toInt(),
                      .num_experts = ctx->saved_data["num_experts"].toInt(),
                      .expert_offset_E1 = integers[0],
                      .row_token_N = integers[1],
                      .token_offset_T1 = integers[2],
                      .token_row_N = integers[3],
                      .row_weight_N = {}}};
}

// x_TH, row_weight_N at home -> rows_MH, row_weight_M that arrive here.
class SendRows : public torch::autograd::Function<SendRows> {
 public:
  static variable_list forward(AutogradContext* ctx, const Variable& x_TH,
                               const Variable& row_weight_N, const ops::Routing& routing,
                               const c10::intrusive_ptr<Exchange>& exchange) {
    save(ctx, exchange, routing);
    return {exchange->out(ops::row_gather(x_TH, routing), "rows"),
            exchange->out(row_weight_N, "row weights")};
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const Saved saved = saved_by(ctx);
    const at::Tensor drows_NH = saved.exchange().home(grads[0], "gradients of rows");
    const at::Tensor dweight_N = saved.exchange().home(grads[1], "gradients of row weights");
    return {ops::row_gather_sum(drows_NH, {}, saved.routing), dweight_N, {}, {}};
  }
};

// y_MH of the rows here -> y_TH at home.
class CollectResults : public torch::autograd::Function<CollectResults> {
 public:
  static Variable forward(AutogradContext* ctx, const Variable& y_MH, const ops::Routing& routing,
                          const c10::intrusive_ptr<Exchange>& exchange) {
    save(ctx, exchange, routing);
    return ops::row_gather_sum(exchange->home(y_MH, "results"), {}, routing);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const Saved saved = saved_by(ctx);
    const at::Tensor dy_NH = ops::row_gather(grads[0], saved.routing);
    return {saved.exchange().out(dy_NH, "gradients of results"), {}, {}};
  }
};

// Rows that ranks send to each other: [R, e] on the host, by rank and local expert.
struct RowCounts {
  std::vector<std::int32_t> sent;
  std::vector<std::int32_t> received;
};

std::vector<std::int64_t> sums_by_rank(const std::vector<std::int32_t>& count_Re,
                                       std::int64_t num_ranks) {
  const std::size_t width = count_Re.size() / static_cast<std::size_t>(num_ranks);
  std::vector<std::int64_t> sums;
  for (std::size_t begin = 0; begin < count_Re.size(); begin += width) {
    const std::span<const std::int32_t> of_rank = std::span(count_Re).subspan(begin, width);
    sums.push_back(std::accumulate(of_rank.begin(), of_rank.end(), std::int64_t{0}));
  }
  return sums;
}

// What arrives is ordered by rank, then expert, then token of that rank. As a routing: every row is
// a token with one expert, and an expert's tokens ascend. Row weights are left to be filled in.
ops::Routing routing_of_arrivals(const std::vector<std::int32_t>& received_Re,
                                 std::int64_t num_ranks, at::Device device) {
  const auto num_experts = static_cast<std::int64_t>(received_Re.size()) / num_ranks;
  const auto count = [&](std::int64_t rank, std::int64_t expert) {
    return received_Re[static_cast<std::size_t>(rank * num_experts + expert)];
  };
  std::vector<std::int32_t> begin_Re(received_Re.size());
  std::exclusive_scan(received_Re.begin(), received_Re.end(), begin_Re.begin(), 0);
  const std::int64_t num_rows =
      std::accumulate(received_Re.begin(), received_Re.end(), std::int64_t{0});
  std::vector<std::int32_t> expert_offset{0};
  std::vector<std::int32_t> row_token;
  std::vector<std::int32_t> token_row(static_cast<std::size_t>(num_rows));
  row_token.reserve(static_cast<std::size_t>(num_rows));
  for (std::int64_t expert = 0; expert < num_experts; ++expert) {
    for (std::int64_t rank = 0; rank < num_ranks; ++rank) {
      const std::int32_t begin = begin_Re[static_cast<std::size_t>(rank * num_experts + expert)];
      for (std::int32_t i = 0; i < count(rank, expert); ++i) {
        token_row[static_cast<std::size_t>(begin + i)] =
            static_cast<std::int32_t>(row_token.size());
        row_token.push_back(begin + i);
      }
    }
    expert_offset.push_back(static_cast<std::int32_t>(row_token.size()));
  }
  const auto upload = [device](const std::vector<std::int32_t>& values) {
    return at::tensor(values, at::kInt).to(device);
  };
  return {.num_tokens = num_rows,
          .num_experts = num_experts,
          .expert_offset_E1 = upload(expert_offset),
          .row_token_N = upload(row_token),
          .token_offset_T1 =
              at::arange(num_rows + 1, at::TensorOptions().dtype(at::kInt).device(device)),
          .token_row_N = upload(token_row),
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
    const RowCounts counts = exchange_counts(routing);
    auto pending = std::make_unique<Arrivals>();
    pending->exchange = c10::make_intrusive<Exchange>();
    pending->exchange->group = &group_;
    pending->exchange->layer = name_;
    pending->exchange->num_sent = sums_by_rank(counts.sent, group_.size());
    pending->exchange->num_received = sums_by_rank(counts.received, group_.size());
    pending->at_home = routing;
    const variable_list arrived =
        SendRows::apply(x_TH, routing.row_weight_N, routing, pending->exchange);
    pending->rows_MH = arrived[0];
    pending->here = routing_of_arrivals(counts.received, group_.size(), x_TH.device());
    pending->here.row_weight_N = arrived[1].index_select(0, pending->here.row_token_N);
    return pending;
  }

  [[nodiscard]] at::Tensor finish(std::unique_ptr<Pending> pending,
                                  const moe::ExpertWeights& weights) override {
    const auto* arrivals = dynamic_cast<const Arrivals*>(pending.get());
    SWITCHYARD_CHECK(arrivals != nullptr, "finish() got what another dispatcher began");
    const at::Tensor y_MH = moe::moe_ffn(arrivals->rows_MH, arrivals->here, weights.w1_E2FH,
                                         weights.w2_EHF, compute_, weights.sink);
    return CollectResults::apply(y_MH, arrivals->at_home, arrivals->exchange);
  }

 private:
  struct Arrivals final : Pending {
    c10::intrusive_ptr<Exchange> exchange;
    ops::Routing at_home;
    at::Tensor rows_MH;
    ops::Routing here;
  };

  // The host waits for the device once, for both.
  [[nodiscard]] RowCounts exchange_counts(const ops::Routing& routing) {
    const at::Tensor sent_E = routing.expert_offset_E1.diff();
    const std::int64_t per_rank = routing.num_experts / group_.size();
    const std::vector<std::int64_t> rows(static_cast<std::size_t>(group_.size()), per_rank);
    at::Tensor received_E = at::empty_like(sent_E);
    group_.all_to_all(sent_E, rows, received_E, rows, "row counts of " + name_);
    const at::Tensor both = at::cat({sent_E, received_E}).to(at::kCPU);
    const auto* count = both.const_data_ptr<std::int32_t>();
    return {.sent = {count, count + routing.num_experts},
            .received = {count + routing.num_experts, count + 2 * routing.num_experts}};
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
