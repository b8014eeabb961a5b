#include "comm/agreement.h"

#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "switchyard/core/error.h"

namespace switchyard::comm {

std::string describe(std::string_view operation, std::string_view name, const at::Tensor& tensor) {
  return fmt::format("{} '{}' of {} [{}]", operation, name, at::toString(tensor.scalar_type()),
                     fmt::join(tensor.sizes(), ", "));
}

void agree(const std::string& description, const std::string& group, const Gather& gather) {
  constexpr std::size_t kMost = 256;
  const at::Tensor own = at::zeros({static_cast<std::int64_t>(kMost)}, at::kByte);
  std::memcpy(own.mutable_data_ptr(), description.data(), std::min(description.size(), kMost - 1));
  const at::Tensor all = gather(own);
  const auto* text = static_cast<const char*>(all.const_data_ptr());
  for (std::int64_t rank = 1; rank < all.size(0); ++rank) {
    const char* other = text + kMost * static_cast<std::size_t>(rank);
    SWITCHYARD_CHECK(std::string_view(other) == text, "rank {} of {} is in {}, rank 0 in {}", rank,
                     group, other, text);
  }
}

void agree_on_rows(std::span<const std::int64_t> send_rows,
                   std::span<const std::int64_t> receive_rows, std::string_view name,
                   const Gather& gather) {
  const auto tensor_of = [](std::span<const std::int64_t> rows) {
    return at::tensor(at::ArrayRef<std::int64_t>(rows.data(), rows.size()), at::kLong);
  };
  const at::Tensor sent = gather(tensor_of(send_rows));
  const at::Tensor received = gather(tensor_of(receive_rows));
  for (std::int64_t from = 0; from < sent.size(0); ++from) {
    for (std::int64_t to = 0; to < sent.size(0); ++to) {
      const auto sends = sent[from][to].item<std::int64_t>();
      const auto expects = received[to][from].item<std::int64_t>();
      SWITCHYARD_CHECK(sends == expects, "'{}': rank {} sends {} rows to rank {}, which expects {}",
                       name, from, sends, to, expects);
    }
  }
}

}  // namespace switchyard::comm
