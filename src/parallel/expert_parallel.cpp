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

#include <limits>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "parallel/row_exchange.h"
#include "switchyard/core/error.h"
#include "switchyard/moe/moe_ffn.h"
#include "switchyard/ops/op_span.h"

namespace switchyard::parallel {
namespace {

// Where each of the pieces, of so many rows, begins.
at::Tensor begins(const at::Tensor& count) {
  return at::cumsum(count, 0, at::kInt) - count;
}

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

// `at_home` with its rows ordered by chunk, then expert, and for every row of it the one it was.
struct ByChunk {
  ops::Routing at_home;
  at::Tensor row_before_N;  // undefined: they are the same
};

ByChunk by_chunk(const ops::Routing& routing, std::int64_t num_ranks, std::int64_t num_chunks) {
  ByChunk result{.at_home = routing, .row_before_N = {}};
  result.at_home.row_weight_N = at::Tensor();  // it has a history, of which this would be a part
  if (num_chunks == 1) return result;
  const at::Tensor count_E = routing.expert_offset_E1.diff();
  const std::vector<std::int64_t> by_rank{num_ranks, num_chunks, -1};
  const std::vector<std::int64_t> chunk_first{num_chunks, num_ranks, -1};
  const at::Tensor begin_E = begins(count_E.view(by_rank).transpose(0, 1).reshape({-1}))
                                 .view(chunk_first)
                                 .transpose(0, 1)
                                 .reshape({-1});
  const std::int64_t num_rows = routing.num_rows();
  const at::Tensor before_N = at::arange(num_rows, count_E.options());
  const at::Tensor row_N =  // where each is now
      before_N + at::repeat_interleave(begin_E - begins(count_E), count_E, /*dim=*/0, num_rows);
  const at::Tensor index_N = row_N.to(at::kLong);
  const auto moved = [&](const at::Tensor& value_N) {
    return at::empty_like(value_N).scatter_(0, index_N, value_N);
  };
  result.at_home.row_token_N = moved(routing.row_token_N);
  result.at_home.token_row_N = row_N.index_select(0, routing.token_row_N);
  result.at_home.expert_offset_E1 = at::Tensor();  // experts no longer lie behind each other
  result.row_before_N = moved(before_N);
  return result;
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
    ByChunk ordered = by_chunk(routing, group_.size(), num_chunks_);
    exchange.at_home = std::move(ordered.at_home);
    pending->received_RCe = exchange_counts(routing, exchange);
    const at::Tensor row_weight_N = ordered.row_before_N.defined()
                                        ? routing.row_weight_N.index_select(0, ordered.row_before_N)
                                        : routing.row_weight_N;
    pending->arriving = send_rows(x_TH, row_weight_N, pending->exchange);
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
      ops::Routing here =
          routing_of_arrivals(under_way->received_RCe.select(1, chunk).reshape({-1}), group_.size(),
                              arrived.rows_MH.size(0));
      here.row_weight_N = arrived.row_weight_M.index_select(0, here.row_token_N);
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

  // Fills in the chunks. The one wait of the host, for the numbers of rows by rank, which sizes of
  // tensors depend on.
  [[nodiscard]] at::Tensor exchange_counts(const ops::Routing& routing, Exchange& exchange) {
    const ops::OpSpan span("exchange_counts");
    const at::Tensor sent_E = routing.expert_offset_E1.diff();
    const std::int64_t per_rank = routing.num_experts / group_.size();
    const std::vector<std::int64_t> rows(static_cast<std::size_t>(group_.size()), per_rank);
    at::Tensor received_Re = at::empty_like(sent_E);
    group_.all_to_all(sent_E, rows, received_Re, rows, "row counts of " + name_);
    const at::Tensor by_rank = at::stack({sent_E, received_Re})
                                   .view({2, group_.size(), num_chunks_, -1})
                                   .sum(3, /*keepdim=*/false, at::kLong)
                                   .permute({0, 2, 1})
                                   .contiguous()
                                   .to(at::kCPU);  // [2, chunks, R]
    const auto counts_at = [&](std::int64_t way, std::int64_t chunk) {
      const auto* count =
          by_rank.const_data_ptr<std::int64_t>() + (way * num_chunks_ + chunk) * group_.size();
      return std::vector<std::int64_t>(count, count + group_.size());
    };
    const auto sum = [](const std::vector<std::int64_t>& counts) {
      return std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
    };
    std::int64_t first = 0;
    for (std::int64_t idx = 0; idx < num_chunks_; ++idx) {
      Exchange::Chunk chunk{.num_sent = counts_at(0, idx), .num_received = counts_at(1, idx)};
      chunk.first = first;
      chunk.num_at_home = sum(chunk.num_sent);
      chunk.num_here = sum(chunk.num_received);
      first += chunk.num_at_home;
      exchange.chunks.push_back(std::move(chunk));
    }
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
