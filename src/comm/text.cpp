#include "switchyard/comm/text.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace switchyard::comm {
namespace {

at::Tensor bytes_of(std::string_view text, std::int64_t size) {
  at::Tensor bytes = at::zeros({size}, at::kByte);
  if (!text.empty()) std::memcpy(bytes.mutable_data_ptr(), text.data(), text.size());
  return bytes;
}

std::string text_in(const at::Tensor& bytes, std::int64_t size) {
  return {static_cast<const char*>(bytes.const_data_ptr()), static_cast<std::size_t>(size)};
}

}  // namespace

std::vector<std::string> all_gather_text(Communicator& ranks, std::string_view own,
                                         std::string_view name) {
  const at::Tensor own_size = at::full({1}, static_cast<std::int64_t>(own.size()), at::kLong);
  at::Tensor size = at::empty({ranks.size()}, at::kLong);
  ranks.all_gather(own_size, size, name);
  const auto* sizes = size.const_data_ptr<std::int64_t>();
  const std::int64_t most =
      std::max<std::int64_t>(1, *std::max_element(sizes, sizes + ranks.size()));
  at::Tensor all = at::empty({ranks.size() * most}, at::kByte);
  ranks.all_gather(bytes_of(own, most), all, name);
  std::vector<std::string> texts;
  for (std::int64_t rank = 0; rank < ranks.size(); ++rank) {
    texts.push_back(text_in(all.narrow(0, rank * most, most), sizes[rank]));
  }
  return texts;
}

std::string text_of_first(Communicator& ranks, std::string_view own, std::string_view name) {
  at::Tensor size = at::full({1}, static_cast<std::int64_t>(own.size()), at::kLong);
  ranks.broadcast(size, 0, name);
  const auto num_bytes = *size.const_data_ptr<std::int64_t>();
  at::Tensor bytes = ranks.rank() == 0
                         ? bytes_of(own, std::max<std::int64_t>(1, num_bytes))
                         : at::zeros({std::max<std::int64_t>(1, num_bytes)}, at::kByte);
  ranks.broadcast(bytes, 0, name);
  return text_in(bytes, num_bytes);
}

}  // namespace switchyard::comm
