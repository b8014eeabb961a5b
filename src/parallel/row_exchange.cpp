#include "parallel/row_exchange.h"

#include <ATen/ops/empty.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/custom_function.h>

#include <utility>

#include "switchyard/ops/op_span.h"
#include "switchyard/ops/row_gather.h"

namespace switchyard::parallel {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

at::Tensor room_here(const at::Tensor& like_NX, const Exchange::Chunk& chunk) {
  std::vector<std::int64_t> shape = like_NX.sizes().vec();
  shape[0] = chunk.num_here;
  return at::empty(shape, like_NX.options().requires_grad(false));
}

// Room for what comes home, if there is none yet, like that of a chunk here.
void make_home(Exchange& exchange, const at::Tensor& like_MH, const at::Tensor& like_weight_M) {
  const std::int64_t num_rows = exchange.at_home.num_rows();
  if (!exchange.home_NH.defined()) {
    exchange.home_NH =
        at::empty({num_rows, like_MH.size(1)}, like_MH.options().requires_grad(false));
  }
  if (like_weight_M.defined() && !exchange.home_weight_N.defined()) {
    exchange.home_weight_N = at::empty({num_rows}, like_weight_M.options().requires_grad(false));
  }
}

struct Move {
  at::Tensor from;
  at::Tensor to;
  const char* what;
};

// Begins to bring rows out to the experts, or home from them. What a function returns becomes part
// of the graph while it is under way; those that are moved do not.
void begin(const Exchange& exchange, Exchange::Chunk& chunk, bool out, std::vector<Move> moves) {
  for (Move& move : moves) {
    move.from = move.from.detach();
    move.to = move.to.detach();
  }
  chunk.work = exchange.group->begin(
      [ranks = exchange.group, layer = exchange.layer, send_rows = out ? chunk.at_home : chunk.here,
       receive_rows = out ? chunk.here : chunk.at_home, moves = std::move(moves)] {
        for (const Move& move : moves) {
          at::Tensor to = move.to;
          ranks->all_to_all(move.from, send_rows, to, receive_rows,
                            fmt::format("{} of {}", move.what, layer));
        }
      });
}

// For what was begun last with the chunk.
void wait(Exchange::Chunk& chunk) {
  const ops::OpSpan span("exchange_rows");
  chunk.work->wait();
  chunk.work.reset();
}

void save(AutogradContext* ctx, const ExchangePtr& exchange, std::size_t chunk = 0) {
  ctx->saved_data["exchange"] = at::IValue::make_capsule(exchange);
  ctx->saved_data["chunk"] = static_cast<std::int64_t>(chunk);
}

ExchangePtr saved_by(AutogradContext* ctx) {
  return c10::static_intrusive_pointer_cast<Exchange>(ctx->saved_data["exchange"].toCapsule());
}

Exchange::Chunk& saved_chunk(AutogradContext* ctx, Exchange& exchange) {
  return exchange.chunks[static_cast<std::size_t>(ctx->saved_data["chunk"].toInt())];
}

class SendRows : public torch::autograd::Function<SendRows> {
 public:
  static variable_list forward(AutogradContext* ctx, const Variable& x_TH,
                               const Variable& row_weight_N, const ExchangePtr& exchange) {
    save(ctx, exchange);
    const at::Tensor rows_NH = ops::row_gather(x_TH, exchange->at_home);
    const at::Tensor weight_N = row_weight_N.detach().contiguous();
    variable_list under_way;
    for (Exchange::Chunk& chunk : exchange->chunks) {
      const at::Tensor rows_MH = room_here(rows_NH, chunk);
      const at::Tensor weight_M = room_here(weight_N, chunk);
      begin(*exchange, chunk, /*out=*/true,
            {{rows_NH, rows_MH, "rows"}, {weight_N, weight_M, "row weights"}});
      under_way.push_back(rows_MH);
      under_way.push_back(weight_M);
    }
    return under_way;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& /*at home already*/) {
    const auto exchange = saved_by(ctx);
    for (Exchange::Chunk& chunk : exchange->chunks) wait(chunk);
    const at::Tensor dx_TH = ops::row_gather_sum(exchange->home_NH, {}, exchange->at_home);
    exchange->home_NH.reset();
    return {dx_TH, std::exchange(exchange->home_weight_N, {}), {}};
  }
};

class ReceiveRows : public torch::autograd::Function<ReceiveRows> {
 public:
  static variable_list forward(AutogradContext* ctx, const Variable& rows_MH,
                               const Variable& row_weight_M, const ExchangePtr& exchange,
                               std::size_t chunk) {
    save(ctx, exchange, chunk);
    wait(exchange->chunks[chunk]);
    return {rows_MH.detach(), row_weight_M.detach()};
  }

  // The gradients go home beside; as tensors of the graph they are the ones that were sent, which
  // SendRows knows better.
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto exchange = saved_by(ctx);
    Exchange::Chunk& chunk = saved_chunk(ctx, *exchange);
    make_home(*exchange, grads[0], grads[1]);
    begin(*exchange, chunk, /*out=*/false,
          {{grads[0].contiguous(), exchange->home_NH, "gradients of rows"},
           {grads[1].contiguous(), exchange->home_weight_N, "gradients of row weights"}});
    return {grads[0], grads[1], {}, {}};
  }
};

class ReturnResults : public torch::autograd::Function<ReturnResults> {
 public:
  static Variable forward(AutogradContext* ctx, const Variable& y_MH, const ExchangePtr& exchange,
                          std::size_t idx) {
    save(ctx, exchange, idx);
    Exchange::Chunk& chunk = exchange->chunks[idx];
    make_home(*exchange, y_MH, {});
    begin(*exchange, chunk, /*out=*/false, {{y_MH.contiguous(), exchange->home_NH, "results"}});
    return y_MH.detach();
  }

  // The gradient has been sent here by CollectResults.
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto exchange = saved_by(ctx);
    wait(saved_chunk(ctx, *exchange));
    return {grads[0], {}, {}};
  }
};

class CollectResults : public torch::autograd::Function<CollectResults> {
 public:
  static Variable forward(AutogradContext* ctx, at::TensorList /*on their way*/,
                          const ExchangePtr& exchange) {
    save(ctx, exchange);
    for (Exchange::Chunk& chunk : exchange->chunks) wait(chunk);
    const at::Tensor y_TH =
        ops::row_gather_sum(exchange->home_NH, exchange->at_home.row_weight_N, exchange->at_home);
    exchange->home_NH.reset();
    exchange->at_home.row_weight_N.reset();
    return y_TH;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto exchange = saved_by(ctx);
    const at::Tensor dy_NH = ops::row_gather(grads[0], exchange->at_home);
    variable_list under_way(exchange->chunks.size() + 1);
    for (std::size_t idx = exchange->chunks.size(); idx-- > 0;) {
      Exchange::Chunk& chunk = exchange->chunks[idx];
      under_way[idx] = room_here(dy_NH, chunk);
      begin(*exchange, chunk, /*out=*/true, {{dy_NH, under_way[idx], "gradients of results"}});
    }
    return under_way;
  }
};

}  // namespace

std::vector<at::Tensor> send_rows(const at::Tensor& x_TH, const at::Tensor& row_weight_N,
                                  const ExchangePtr& exchange) {
  return SendRows::apply(x_TH, row_weight_N, exchange);
}

ReceivedRows receive_rows(const at::Tensor& rows_MH, const at::Tensor& row_weight_M,
                          const ExchangePtr& exchange, std::size_t chunk) {
  variable_list received = ReceiveRows::apply(rows_MH, row_weight_M, exchange, chunk);
  return {.rows_MH = std::move(received[0]), .row_weight_M = std::move(received[1])};
}

at::Tensor return_results(const at::Tensor& y_MH, const ExchangePtr& exchange, std::size_t chunk) {
  return ReturnResults::apply(y_MH, exchange, chunk);
}

at::Tensor collect_results(at::TensorList y_of_chunks, const ExchangePtr& exchange) {
  return CollectResults::apply(y_of_chunks, exchange);
}

}  // namespace switchyard::parallel
