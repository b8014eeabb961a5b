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

std::string describe_rows(std::string_view name, const at::Tensor& send, std::size_t num_parts) {
  return describe(num_parts == 1 ? "all_to_all" : fmt::format("all_to_all in {} parts", num_parts),
                  name, send.narrow(0, 0, 0));
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

void agree_on_rows(const RankRows& send_rows, const RankRows& receive_rows, std::string_view name,
                   const Gather& gather) {
  const at::Tensor sent = gather(at::tensor(send_rows.count, at::kLong));  // [R, R * parts]
  const at::Tensor received = gather(at::tensor(receive_rows.count, at::kLong));
  const std::int64_t num_parts = sent.size(1) / sent.size(0);
  for (std::int64_t from = 0; from < sent.size(0); ++from) {
    for (std::int64_t i = 0; i < sent.size(1); ++i) {
      const std::int64_t to = i / num_parts;
      const auto sends = sent[from][i].item<std::int64_t>();
      const auto expects = received[to][from * num_parts + i % num_parts].item<std::int64_t>();
      SWITCHYARD_CHECK(sends == expects, "'{}': rank {} sends {} rows to rank {}, which expects {}",
                       name, from, sends, to, expects);
    }
  }
}

}  // namespace switchyard::comm
