// How ranks find out, when they ask, that they are not all in the same collective.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

#include "switchyard/comm/communicator.h"

namespace switchyard::comm {

// "all_reduce_sum 'losses' of Double [7]": equal on all ranks that are in the same collective.
[[nodiscard]] std::string describe(std::string_view operation, std::string_view name,
                                   const at::Tensor& tensor);
// Of all_to_all, whose ranks may have other numbers of rows, but not of parts.
[[nodiscard]] std::string describe_rows(std::string_view name, const at::Tensor& send,
                                        std::size_t num_parts);

// Given [n] bytes or integers in host memory, returns those of all ranks, [R, n].
using Gather = std::function<at::Tensor(const at::Tensor& own)>;

// Throws InternalError, on every rank, when descriptions differ. `group` names these ranks.
void agree(const std::string& description, const std::string& group, const Gather& gather);
// The same when a rank expects other rows than what is sent to it.
void agree_on_rows(const RankRows& send_rows, const RankRows& receive_rows, std::string_view name,
                   const Gather& gather);

}  // namespace switchyard::comm
