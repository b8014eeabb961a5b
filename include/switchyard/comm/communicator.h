// What ranks say to each other. Training code is written against this interface; one process is
// comm/self.h, ranks as threads are comm/threads.h.
#pragma once

#include <ATen/core/Tensor.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

namespace switchyard::comm {

// What was begun and goes on beside. One that is never waited for is waited for when it goes away,
// unless that is because something was thrown.
class Work {
 public:
  virtual ~Work() = default;
  Work() = default;
  Work(const Work&) = delete;
  Work& operator=(const Work&) = delete;
  // Returns when it is done; on a device, when what the caller queues from here on comes after it.
  // Throws what it threw. Once.
  virtual void wait() = 0;
};

// Which rows of a tensor go to each rank, or come from it: for every rank so many parts, of
// neighbouring rows each, which lie anywhere in the tensor.
struct RankRows {
  std::vector<std::int64_t> first;  // by rank, then part
  std::vector<std::int64_t> count;  // 0: nothing
  bool are_all = false;             // the rows of the tensor, all of them

  RankRows() = default;
  // One part for each rank, of so many rows: the first count[0] rows of the tensor are rank 0's,
  // the next count[1] rank 1's... NOLINTNEXTLINE(google-explicit-constructor)
  RankRows(std::vector<std::int64_t> count_R);

  void add(std::int64_t first_row, std::int64_t num_rows) {
    first.push_back(first_row);
    count.push_back(num_rows);
  }
  [[nodiscard]] std::vector<at::Tensor> parts_of(const at::Tensor& tensor) const;
};

// Every collective is entered by all ranks in the same order; `name` is what a report of a hang or
// a mismatch says. Tensors are contiguous, need no gradient and are of equal shape and dtype on all
// ranks, but for the rows of all_to_all; two tensors of one call share no memory and a device.
// Throws InternalError for tensors that do not, and, where the implementation says that it notices,
// on every rank when ranks disagree about the collective, its name, the tensor, the root or the
// rows.
//
// R is the number of ranks; rows are what the first dimension counts.
class Communicator {
 public:
  virtual ~Communicator() = default;
  Communicator() = default;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  [[nodiscard]] virtual std::int64_t rank() const = 0;
  [[nodiscard]] virtual std::int64_t size() const = 0;

  // Replaces `tensor` by the sum over ranks, added in the tensor's dtype: in ascending rank, or,
  // over NCCL, in an order of its own, which is the same for all ranks.
  virtual void all_reduce_sum(at::Tensor& tensor, std::string_view name) = 0;
  // Each rank's block of the sum: `all` is [R n, ...], `own` [n, ...] becomes rows rank n to
  // (rank + 1) n of the sum over ranks, added as all_reduce_sum does.
  virtual void reduce_scatter_sum(const at::Tensor& all, at::Tensor& own,
                                  std::string_view name) = 0;
  // `all` [R n, ...] becomes the ranks' `own` [n, ...], one below the other.
  virtual void all_gather(const at::Tensor& own, at::Tensor& all, std::string_view name) = 0;
  // The first of the parts of `send` that are rank r's becomes the first part of its `receive` that
  // is this rank's, the second the second...; of all ranks there are equally many parts, and what a
  // rank expects is what the other sends. Rows of `receive` in no part stay what they are.
  virtual void all_to_all(const at::Tensor& send, const RankRows& send_rows, at::Tensor& receive,
                          const RankRows& receive_rows, std::string_view name) = 0;
  // Replaces `tensor` by rank `root`'s.
  virtual void broadcast(at::Tensor& tensor, std::int64_t root, std::string_view name) = 0;
  // Returns once every rank has entered.
  virtual void barrier(std::string_view name) = 0;
  // The ranks that gave the same `group` (0 or more), numbered in the order that they have here.
  [[nodiscard]] virtual std::unique_ptr<Communicator> split(std::int64_t group,
                                                            std::string_view name) = 0;
  // Runs `collectives`, which enters some of these ranks or of groups split off from them, while
  // the caller computes: on a thread of its own (comm/beside.h) or on another stream of the device
  // (comm/nccl.h); everywhere else at once. All that a rank begins happens in that order, and
  // before what it enters later. Until wait() its tensors are left alone, and kept by `collectives`
  // itself.
  [[nodiscard]] virtual std::unique_ptr<Work> begin(std::function<void()> collectives);
  // From here on a rank that has waited for the others so long takes them for dead. For all groups
  // of these ranks; nothing where they are never waited for in vain.
  virtual void set_timeout(std::chrono::seconds /*timeout*/) {}
  // This rank has failed: a collective of these ranks that it is in on another thread ends with an
  // error, and none is entered any more.
  virtual void abandon() {}
  // What this one passes everything on to; none: it does it itself.
  [[nodiscard]] virtual Communicator* beneath() { return nullptr; }
};

// Of the rows that go to ranks, or come from them; of a tensor that has no rows 0.
[[nodiscard]] std::int64_t bytes_of_rows(const at::Tensor& tensor, const RankRows& rows);

// What every implementation asks of its arguments; all throw InternalError.
void check_sendable(const at::Tensor& tensor, std::string_view name);
void check_group(std::int64_t group, std::string_view name);
// `all` has `num_ranks` times the rows of `own`.
void check_blocks(const at::Tensor& own, const at::Tensor& all, std::int64_t num_ranks,
                  std::string_view name);
// Of all_to_all: rows of one shape and dtype, and as many parts of them for every rank, there and
// here, of which no two that are received share a row. Returns how many.
std::size_t check_rows(const at::Tensor& send, const RankRows& send_rows, const at::Tensor& receive,
                       const RankRows& receive_rows, std::int64_t num_ranks, std::string_view name);

}  // namespace switchyard::comm
