#include "switchyard/ops/routing.h"

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <span>
#include <vector>

#include "ops/kernel_device.h"
#include "switchyard/core/error.h"

namespace switchyard::ops {
namespace {

using Int32s = std::span<const std::int32_t>;

// A host copy, to look at the values of.
at::Tensor on_host(const at::Tensor& tensor, const char* name, std::int64_t size) {
  SWITCHYARD_CHECK(tensor.defined(), "{} is undefined", name);
  SWITCHYARD_CHECK(tensor.scalar_type() == at::kInt && tensor.dim() == 1,
                   "{} must be int32 and have one dim", name);
  SWITCHYARD_CHECK(tensor.size(0) == size, "{} has {} elements, expected {}", name, tensor.size(0),
                   size);
  return tensor.cpu().contiguous();
}

void check_offsets(Int32s offsets, std::int64_t num_rows, const char* name) {
  SWITCHYARD_CHECK(offsets.front() == 0, "{} starts at {}, expected 0", name, offsets.front());
  for (std::size_t i = 1; i < offsets.size(); ++i) {
    SWITCHYARD_CHECK(offsets[i - 1] <= offsets[i], "{} descends at index {}", name, i);
  }
  SWITCHYARD_CHECK(offsets.back() == num_rows, "{} ends at {}, expected the number of rows {}",
                   name, offsets.back(), num_rows);
}

}  // namespace

void check_routing(const Routing& routing) {
  SWITCHYARD_CHECK(routing.num_tokens >= 0 && routing.num_experts >= 1, "{} tokens and {} experts",
                   routing.num_tokens, routing.num_experts);
  SWITCHYARD_CHECK(routing.row_token_N.defined(), "row_token_N is undefined");
  const std::int64_t num_rows = routing.num_rows();
  const at::Tensor expert_offset_E1 =
      on_host(routing.expert_offset_E1, "expert_offset_E1", routing.num_experts + 1);
  const at::Tensor row_token_N = on_host(routing.row_token_N, "row_token_N", num_rows);
  const at::Tensor token_offset_T1 =
      on_host(routing.token_offset_T1, "token_offset_T1", routing.num_tokens + 1);
  const at::Tensor token_row_N = on_host(routing.token_row_N, "token_row_N", num_rows);
  SWITCHYARD_CHECK(routing.row_weight_N.defined() && routing.row_weight_N.dim() == 1 &&
                       routing.row_weight_N.size(0) == num_rows &&
                       (routing.row_weight_N.scalar_type() == at::kFloat ||
                        routing.row_weight_N.scalar_type() == at::kDouble),
                   "row_weight_N must be fp32 or fp64 [{}]", num_rows);

  const Int32s expert_offset = host_values<std::int32_t>(expert_offset_E1);
  const Int32s row_token = host_values<std::int32_t>(row_token_N);
  const Int32s token_offset = host_values<std::int32_t>(token_offset_T1);
  const Int32s token_row = host_values<std::int32_t>(token_row_N);
  check_offsets(expert_offset, num_rows, "expert_offset_E1");
  check_offsets(token_offset, num_rows, "token_offset_T1");
  const auto index = [](std::int64_t value) { return static_cast<std::size_t>(value); };
  for (std::int64_t e = 0; e < routing.num_experts; ++e) {
    const std::int32_t begin = expert_offset[index(e)];
    for (std::int32_t row = begin; row < expert_offset[index(e + 1)]; ++row) {
      const std::int32_t token = row_token[index(row)];
      SWITCHYARD_CHECK(token >= 0 && token < routing.num_tokens, "row {} has token {} of {}", row,
                       token, routing.num_tokens);
      SWITCHYARD_CHECK(row == begin || row_token[index(row - 1)] < token,
                       "tokens of expert {} do not ascend at row {}", e, row);
    }
  }
  // Rows ascend with the expert, so ascending rows are ascending experts; that every row names its
  // token and none occurs twice makes the two views the same pairs.
  for (std::int64_t t = 0; t < routing.num_tokens; ++t) {
    const std::int32_t begin = token_offset[index(t)];
    for (std::int32_t i = begin; i < token_offset[index(t + 1)]; ++i) {
      const std::int32_t row = token_row[index(i)];
      SWITCHYARD_CHECK(row >= 0 && row < num_rows, "token {} has row {} of {}", t, row, num_rows);
      SWITCHYARD_CHECK(row_token[index(row)] == t, "token {} lists row {}, which is of token {}", t,
                       row, row_token[index(row)]);
      SWITCHYARD_CHECK(i == begin || token_row[index(i - 1)] < row,
                       "rows of token {} do not ascend at index {}", t, i);
    }
  }
}

}  // namespace switchyard::ops
