#include "switchyard/parallel/expert_parallel.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "parallel/row_exchange.h"
#include "switchyard/core/error.h"
#include "switchyard/moe/moe_ffn.h"
#include "switchyard/ops/op_span.h"

namespace switchyard::parallel {
namespace {

// Where each begins when they are one behind the other, the last dimension first.
at::Tensor begins(const at::Tensor& count) {
  const at::Tensor flat = count.reshape({-1});
  return (flat.cumsum(0) - flat).view(count.sizes());
}

comm::RankRows rank_rows(const at::Tensor& first_RP, const at::Tensor& count_RP) {
  const at::Tensor first = first_RP.contiguous();
  const at::Tensor count = count_RP.contiguous();
  comm::RankRows rows;
  for (std::int64_t i = 0; i < count.numel(); ++i) {
    rows.add(first.const_data_ptr<std::int64_t>()[i], count.const_data_ptr<std::int64_t>()[i]);
  }
  return rows;
}

// What goes and comes by the experts of each chunk. Numbers of rows in host memory: sent_Re to that
// expert of that rank, received_Re from that rank for that expert here.
std::vector<Exchange::Chunk> chunks_of(const at::Tensor& sent_Re, const at::Tensor& received_Re,
                                       std::int64_t num_chunks) {
  std::vector<Exchange::Chunk> chunks(static_cast<std::size_t>(num_chunks));
  const at::Tensor first_at_home_Re = begins(sent_Re);  // in the order of all experts
  const std::int64_t per_chunk = sent_Re.size(1) / num_chunks;
  for (std::int64_t idx = 0; idx < num_chunks; ++idx) {
    const auto of_chunk = [&](const at::Tensor& all_Re) {
      return all_Re.narrow(1, idx * per_chunk, per_chunk);
    };
    Exchange::Chunk& chunk = chunks[static_cast<std::size_t>(idx)];
    const at::Tensor here_Re = of_chunk(received_Re);
    chunk.at_home = rank_rows(of_chunk(first_at_home_Re), of_chunk(sent_Re));
    chunk.here = rank_rows(begins(here_Re.t()).t(), here_Re);  // by expert, then rank
    chunk.num_here = here_Re.sum().item<std::int64_t>();
  }
  return chunks;
}

// What arrives, as a routing: rows are tokens. received_Re: of the chunk's experts, on the device.
ops::Routing routing_of_arrivals(const at::Tensor& received_Re, const ReceivedRows& arrived) {
  const std::int64_t num_rows = arrived.rows_MH.size(0);
  SWITCHYARD_CHECK(num_rows < std::numeric_limits<std::int32_t>::max(), "{} rows on one rank",
                   num_rows);
  const at::Tensor end_E = received_Re.sum(0).cumsum(0, at::kInt);
  return {.num_tokens = num_rows,
          .num_experts = end_E.size(0),
          .expert_offset_E1 = at::cat({at::zeros({1}, end_E.options()), end_E}),
          .row_token_N = {},
          .token_offset_T1 = {},
          .token_row_N = {},
          .row_weight_N = arrived.row_weight_M};
}

class ExpertParallelDispatcher final : public moe::Dispatcher {
 public:
  ExpertParallelDispatcher(comm::Communicator& group, std::int64_t num_chunks,
                           const moe::DispatcherBuild& build)
      : group_(group), num_chunks_(num_chunks), name_(build.name), compute_(build.compute) {
    SWITCHYARD_CHECK(build.experts.count * group.size() == build.num_experts &&
                         build.experts.first == group.rank() * build.experts.count,
                     "{}: experts {} to {} of {} on rank {} of {}", name_, build.experts.first,
                     build.experts.first + build.experts.count - 1, build.num_experts, group.rank(),
                     group.size());
  }

  [[nodiscard]] std::unique_ptr<Pending> begin(const at::Tensor& x_TH,
                                               const ops::Routing& routing) override {
    auto pending = std::make_unique<UnderWay>();
    pending->exchange = c10::make_intrusive<Exchange>();
    Exchange& exchange = *pending->exchange;
    exchange.group = &group_;
    exchange.layer = name_;
    exchange.at_home = routing;
    exchange.at_home.row_weight_N = routing.row_weight_N.detach();
    pending->received_RCe = exchange_counts(routing, exchange);
    pending->arriving = send_rows(x_TH, routing.row_weight_N, pending->exchange);
    return pending;
  }

  [[nodiscard]] at::Tensor finish(std::unique_ptr<Pending> pending,
                                  const moe::ExpertWeights& weights) override {
    const auto* under_way = dynamic_cast<const UnderWay*>(pending.get());
    SWITCHYARD_CHECK(under_way != nullptr, "finish() got what another dispatcher began");
    const ExchangePtr& exchange = under_way->exchange;
    const std::int64_t num_experts = weights.w1_E2FH.size(0) / num_chunks_;
    std::vector<at::Tensor> y_of_chunks;
    for (std::int64_t chunk = 0; chunk < num_chunks_; ++chunk) {
      const auto idx = static_cast<std::size_t>(chunk);
      const ReceivedRows arrived = receive_rows(under_way->arriving[2 * idx],
                                                under_way->arriving[2 * idx + 1], exchange, idx);
      const ops::Routing here =
          routing_of_arrivals(under_way->received_RCe.select(1, chunk), arrived);
      const auto part = [&](const at::Tensor& all_E) {
        return num_chunks_ == 1 || !all_E.defined()
                   ? all_E
                   : all_E.narrow(0, chunk * num_experts, num_experts);
      };
      const at::Tensor y_MH = moe::moe_ffn(
          arrived.rows_MH, here, part(weights.w1_E2FH), part(weights.w2_EHF), compute_,
          {.w1_E2FH = part(weights.sink.w1_E2FH), .w2_EHF = part(weights.sink.w2_EHF)});
      y_of_chunks.push_back(return_results(y_MH, exchange, idx));
    }
    return collect_results(y_of_chunks, exchange);
  }

 private:
  struct UnderWay final : Pending {
    ExchangePtr exchange;
    at::Tensor received_RCe;           // rows by rank, chunk and expert of it
    std::vector<at::Tensor> arriving;  // by chunk: rows, row weights
  };

  // Fills in the chunks. The one wait of the host, for the numbers of rows, which sizes of tensors
  // depend on.
  [[nodiscard]] at::Tensor exchange_counts(const ops::Routing& routing, Exchange& exchange) {
    const ops::OpSpan span("exchange_counts");
    const at::Tensor sent_E = routing.expert_offset_E1.diff();
    const std::int64_t per_rank = routing.num_experts / group_.size();
    const std::vector<std::int64_t> rows(static_cast<std::size_t>(group_.size()), per_rank);
    at::Tensor received_Re = at::empty_like(sent_E);
    group_.all_to_all(sent_E, rows, received_Re, rows, "row counts of " + name_);
    const at::Tensor on_host = at::stack({sent_E, received_Re})
                                   .view({2, group_.size(), per_rank})
                                   .to(at::kCPU)
                                   .to(at::kLong);
    exchange.chunks = chunks_of(on_host[0], on_host[1], num_chunks_);
    return received_Re.view({group_.size(), num_chunks_, -1});
  }

  comm::Communicator& group_;
  std::int64_t num_chunks_;
  std::string name_;
  std::shared_ptr<moe::ExpertCompute> compute_;
};

}  // namespace

moe::ExpertPlacement expert_placement(RankGroups& groups, std::int64_t num_experts,
                                      std::int64_t num_chunks) {
  if (groups.layout().expert == 1) return {};
  const moe::ExpertRange experts = groups.layout().experts(num_experts);
  SWITCHYARD_CHECK(num_chunks >= 1 && experts.count % num_chunks == 0, "{} experts in {} chunks",
                   experts.count, num_chunks);
  return {.experts = experts,
          .make_dispatcher = [&groups, num_chunks](const moe::DispatcherBuild& build) {
            return std::make_unique<ExpertParallelDispatcher>(groups.expert_group(), num_chunks,
                                                              build);
          }};
}

}  // namespace switchyard::parallel
