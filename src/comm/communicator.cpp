#include "switchyard/comm/communicator.h"

#include <limits>

#include "switchyard/core/error.h"

namespace switchyard::comm {
namespace {

// A count for every rank, together the rows of `tensor`.
void check_counts(const at::Tensor& tensor, std::span<const std::int64_t> rows,
                  std::int64_t num_ranks, std::string_view name) {
  check_sendable(tensor, name);
  std::int64_t sum = 0;
  bool is_counts = std::ssize(rows) == num_ranks && tensor.dim() >= 1;
  for (const std::int64_t count : rows) {
    is_counts = is_counts && count >= 0;
    sum += count;
  }
  SWITCHYARD_CHECK(is_counts && sum == tensor.size(0), "{}: rows {} of {} for {} ranks", name,
                   fmt::join(rows, ", "), c10::str(tensor.sizes()), num_ranks);
}

bool are_apart(const at::Tensor& a, const at::Tensor& b) {
  return a.device() == b.device() && !a.is_alias_of(b);
}

class DoneWork final : public Work {
 public:
  void wait() override {}
};

}  // namespace

std::unique_ptr<Work> Communicator::begin(std::function<void()> collectives) {
  collectives();
  return std::make_unique<DoneWork>();
}

void check_group(std::int64_t group, std::string_view name) {
  SWITCHYARD_CHECK(group >= 0 && group <= std::numeric_limits<std::int32_t>::max(),
                   "split '{}' into group {}", name, group);
}

void check_sendable(const at::Tensor& tensor, std::string_view name) {
  SWITCHYARD_CHECK(tensor.defined(), "{}: undefined tensor", name);
  SWITCHYARD_CHECK(tensor.is_contiguous(), "{}: tensor is not contiguous", name);
  SWITCHYARD_CHECK(!tensor.requires_grad(), "{}: tensor requires grad", name);
}

void check_blocks(const at::Tensor& own, const at::Tensor& all, std::int64_t num_ranks,
                  std::string_view name) {
  check_sendable(own, name);
  check_sendable(all, name);
  SWITCHYARD_CHECK(
      own.dim() >= 1 && own.dim() == all.dim() && own.scalar_type() == all.scalar_type() &&
          own.sizes().slice(1) == all.sizes().slice(1) && all.size(0) == num_ranks * own.size(0) &&
          are_apart(own, all),
      "{}: {} {} is no block of {} {} for {} ranks", name, at::toString(own.scalar_type()),
      c10::str(own.sizes()), at::toString(all.scalar_type()), c10::str(all.sizes()), num_ranks);
}

void check_rows(const at::Tensor& send, std::span<const std::int64_t> send_rows,
                const at::Tensor& receive, std::span<const std::int64_t> receive_rows,
                std::int64_t num_ranks, std::string_view name) {
  check_counts(send, send_rows, num_ranks, name);
  check_counts(receive, receive_rows, num_ranks, name);
  SWITCHYARD_CHECK(
      send.scalar_type() == receive.scalar_type() &&
          send.sizes().slice(1) == receive.sizes().slice(1) && are_apart(send, receive),
      "{}: rows of {} {} into rows of {} {}", name, at::toString(send.scalar_type()),
      c10::str(send.sizes()), at::toString(receive.scalar_type()), c10::str(receive.sizes()));
}

}  // namespace switchyard::comm
