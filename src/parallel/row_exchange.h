// The way of rows to the ranks of their experts and back, as differentiable functions.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "switchyard/comm/communicator.h"
#include "switchyard/ops/routing.h"

namespace switchyard::parallel {

// The way of one micro-batch's rows, from N at home to M that arrive here, and back, in chunks: a
// chunk is as many of every rank's experts, so that one chunk's experts can compute while the next
// one's rows are under way. At home rows are ordered by expert; those of a chunk that arrive are
// ordered by expert too, whatever rank they are from. So the experts take them as they lie.
struct Exchange : torch::CustomClassHolder {
  struct Chunk {
    comm::RankRows at_home;  // of every rank a part for each of its experts in the chunk
    comm::RankRows here;     // of every rank a part for each expert here
    std::int64_t num_here = 0;
    std::unique_ptr<comm::Work> work = {};  // that brings rows to whoever needs them next
  };
  comm::Communicator* group = nullptr;
  std::string layer;
  std::vector<Chunk> chunks;
  ops::Routing at_home;  // of the row weights the values alone, until results are collected
  // What comes home.
  at::Tensor home_NH;
  at::Tensor home_weight_N;
};
using ExchangePtr = c10::intrusive_ptr<Exchange>;

// Call them in this order: send_rows, then receive_rows and return_results of every chunk in
// ascending order, then collect_results. They are differentiated in the opposite order (autograd
// takes the latest call of those that are ready), so that backward overlaps as forward does. What
// one returns may still be under way; the next one waits for it.

// x_TH, row_weight_N -> rows_MH and row_weight_M of chunk 0, of chunk 1...
[[nodiscard]] std::vector<at::Tensor> send_rows(const at::Tensor& x_TH,
                                                const at::Tensor& row_weight_N,
                                                const ExchangePtr& exchange);
struct ReceivedRows {
  at::Tensor rows_MH;
  at::Tensor row_weight_M;
};
// A chunk's, which are here then.
[[nodiscard]] ReceivedRows receive_rows(const at::Tensor& rows_MH, const at::Tensor& row_weight_M,
                                        const ExchangePtr& exchange, std::size_t chunk);
// A chunk's results, not yet multiplied by row weights, begin to go home; it is them that are
// returned, for the graph.
[[nodiscard]] at::Tensor return_results(const at::Tensor& y_MH, const ExchangePtr& exchange,
                                        std::size_t chunk);
// y_MH of all chunks -> y_TH at home: a token's results, each times its row's weight. What goes to
// the experts in backward is dy_t, from which they make the gradient of row weights too.
[[nodiscard]] at::Tensor collect_results(at::TensorList y_of_chunks, const ExchangePtr& exchange);

}  // namespace switchyard::parallel
