#include "switchyard/comm/communicator.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

#include "switchyard/core/error.h"

namespace switchyard::comm {
namespace {

// As many parts for every rank, each inside `tensor`. Returns how many.
std::size_t check_parts(const at::Tensor& tensor, const RankRows& rows, std::int64_t num_ranks,
                        std::string_view name) {
  check_sendable(tensor, name);
  const std::size_t num_parts = rows.count.size() / static_cast<std::size_t>(num_ranks);
  bool are_parts = tensor.dim() >= 1 && num_parts >= 1 && rows.first.size() == rows.count.size() &&
                   rows.count.size() == num_parts * static_cast<std::size_t>(num_ranks);
  std::int64_t sum = 0;
  for (std::size_t i = 0; are_parts && i < rows.count.size(); ++i) {
    are_parts =
        rows.first[i] >= 0 && rows.count[i] >= 0 && rows.first[i] <= tensor.size(0) - rows.count[i];
    sum += rows.count[i];
  }
  SWITCHYARD_CHECK(are_parts && (!rows.are_all || sum == tensor.size(0)),
                   "{}: rows {} from rows {} on of {} for {} ranks", name,
                   fmt::join(rows.count, ", "), fmt::join(rows.first, ", "),
                   c10::str(tensor.sizes()), num_ranks);
  return num_parts;
}

// One that overwrites another would leave it to chance what is received.
void check_apart(const RankRows& rows, std::string_view name) {
  std::vector<std::pair<std::int64_t, std::int64_t>> spans;
  for (std::size_t i = 0; i < rows.count.size(); ++i) {
    if (rows.count[i] > 0) spans.emplace_back(rows.first[i], rows.first[i] + rows.count[i]);
  }
  std::sort(spans.begin(), spans.end());
  for (std::size_t i = 1; i < spans.size(); ++i) {
    SWITCHYARD_CHECK(spans[i - 1].second <= spans[i].first, "{}: row {} is received twice", name,
                     spans[i].first);
  }
}

bool are_apart(const at::Tensor& a, const at::Tensor& b) {
  return a.device() == b.device() && !a.is_alias_of(b);
}

class DoneWork final : public Work {
 public:
  void wait() override {}
};

}  // namespace

RankRows::RankRows(std::vector<std::int64_t> count_R) : count(std::move(count_R)), are_all(true) {
  std::int64_t begin = 0;
  for (const std::int64_t each : count) {
    first.push_back(begin);
    begin += each;
  }
}

std::vector<at::Tensor> RankRows::parts_of(const at::Tensor& tensor) const {
  std::vector<at::Tensor> parts;
  for (std::size_t i = 0; i < count.size(); ++i) {
    parts.push_back(tensor.narrow(0, first[i], count[i]));
  }
  return parts;
}

std::unique_ptr<Work> Communicator::begin(std::function<void()> collectives) {
  collectives();
  return std::make_unique<DoneWork>();
}

std::int64_t bytes_of_rows(const at::Tensor& tensor, const RankRows& rows) {
  if (!tensor.defined() || tensor.dim() == 0) return 0;
  const std::int64_t num_rows = std::accumulate(rows.count.begin(), rows.count.end(), 0LL);
  const std::int64_t row_numel = c10::multiply_integers(tensor.sizes().slice(1));
  return num_rows * row_numel * static_cast<std::int64_t>(tensor.element_size());
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

std::size_t check_rows(const at::Tensor& send, const RankRows& send_rows, const at::Tensor& receive,
                       const RankRows& receive_rows, std::int64_t num_ranks,
                       std::string_view name) {
  const std::size_t num_sent = check_parts(send, send_rows, num_ranks, name);
  const std::size_t num_received = check_parts(receive, receive_rows, num_ranks, name);
  SWITCHYARD_CHECK(num_sent == num_received, "{}: {} parts for a rank, {} of one", name, num_sent,
                   num_received);
  check_apart(receive_rows, name);
  SWITCHYARD_CHECK(
      send.scalar_type() == receive.scalar_type() &&
          send.sizes().slice(1) == receive.sizes().slice(1) && are_apart(send, receive),
      "{}: rows of {} {} into rows of {} {}", name, at::toString(send.scalar_type()),
      c10::str(send.sizes()), at::toString(receive.scalar_type()), c10::str(receive.sizes()));
  return num_sent;
}

}  // namespace switchyard::comm
