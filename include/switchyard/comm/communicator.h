// What ranks say to each other. Training code is written against this interface; one process is
// comm/self.h, ranks as threads are comm/threads.h.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string_view>

namespace switchyard::comm {

// Every collective is entered by all ranks in the same order; `name` is what a report of a hang or
// a mismatch says. Tensors are contiguous, need no gradient and are of equal shape and dtype on all
// ranks. Throws InternalError for a tensor that is not, and on every rank where ranks disagree
// about the collective, its name, the tensor or the root.
class Communicator {
 public:
  virtual ~Communicator() = default;
  Communicator() = default;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  [[nodiscard]] virtual std::int64_t rank() const = 0;
  [[nodiscard]] virtual std::int64_t size() const = 0;

  // Replaces `tensor` by the sum over ranks, added in ascending rank in the tensor's dtype.
  virtual void all_reduce_sum(at::Tensor& tensor, std::string_view name) = 0;
  // Replaces `tensor` by rank `root`'s.
  virtual void broadcast(at::Tensor& tensor, std::int64_t root, std::string_view name) = 0;
  // Returns once every rank has entered.
  virtual void barrier(std::string_view name) = 0;
  // The ranks that gave the same `group`, numbered in the order that they have here.
  [[nodiscard]] virtual std::unique_ptr<Communicator> split(std::int64_t group,
                                                            std::string_view name) = 0;
};

// What every implementation asks of a tensor before it is sent; throws InternalError.
void check_sendable(const at::Tensor& tensor, std::string_view name);

}  // namespace switchyard::comm
