#include "switchyard/ops/product.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "switchyard/core/parallel.h"
#include "switchyard/ops/one_thread.h"

namespace switchyard::ops {
namespace {

constexpr double kSmall = 400e3;  // multiplications: some ten microseconds
// Numbers read and written; with few rows they take longer than multiplying.
constexpr double kSmallOperands = 64e3;
constexpr double kMostBlocks = 16.0;
// Each block arranges the second operand anew, which takes as long as some rows.
constexpr std::int64_t kFewestRows = 64;

double num_multiplications(std::int64_t m, std::int64_t k, std::int64_t n) {
  return static_cast<double>(m) * static_cast<double>(k) * static_cast<double>(n);
}

// Of a product of so many rows. A power of two, so that threads get equal shares.
std::int64_t num_blocks(std::int64_t m, double num_small_ones) {
  const auto wanted = std::bit_ceil(static_cast<std::uint64_t>(std::ceil(num_small_ones)));
  const auto most = std::bit_floor(static_cast<std::uint64_t>(m / kFewestRows));
  return static_cast<std::int64_t>(std::min(wanted, most));
}

// No view where it is the whole: a GPU's products are one block, and there the host has to hurry.
at::Tensor rows_of(const at::Tensor& tensor, std::int64_t begin, std::int64_t count) {
  return count == tensor.size(0) ? tensor : tensor.narrow(0, begin, count);
}

}  // namespace

bool is_small_product(std::int64_t m, std::int64_t k, std::int64_t n) {
  const auto rows = static_cast<double>(m);
  const auto inner = static_cast<double>(k);
  const auto columns = static_cast<double>(n);
  return num_multiplications(m, k, n) <= kSmall &&
         rows * inner + inner * columns + rows * columns <= kSmallOperands;
}

void for_each_row_block(
    at::Device device, std::int64_t m, std::int64_t k, std::int64_t n,
    const std::function<void(std::int64_t begin, std::int64_t count)>& multiply) {
  const at::NoGradGuard no_grad;
  const double num_small_ones = num_multiplications(m, k, n) / kSmall;
  if (device.is_cpu() && is_small_product(m, k, n)) {
    const OneThread alone;
    multiply(0, m);
  } else if (device.is_cpu() && num_small_ones <= kMostBlocks && m >= 2 * kFewestRows) {
    const std::int64_t blocks = num_blocks(m, num_small_ones);
    parallel_for(m, (m + blocks - 1) / blocks, [&](std::int64_t begin, std::int64_t end) {
      const at::NoGradGuard on_this_thread;  // gradient mode is per thread
      const OneThread alone;
      multiply(begin, end - begin);
    });
  } else {
    multiply(0, m);
  }
}

at::Tensor product(const at::Tensor& a_MK, const at::Tensor& b_KN) {
  const at::Tensor out_MN = at::empty({a_MK.size(0), b_KN.size(1)}, a_MK.options());
  product_into(out_MN, a_MK, b_KN);
  return out_MN;
}

void product_into(const at::Tensor& out_MN, const at::Tensor& a_MK, const at::Tensor& b_KN) {
  for_each_row_block(out_MN.device(), a_MK.size(0), a_MK.size(1), b_KN.size(1),
                     [&](std::int64_t begin, std::int64_t count) {
                       at::Tensor out = rows_of(out_MN, begin, count);
                       at::mm_out(out, rows_of(a_MK, begin, count), b_KN);
                     });
}

void add_product(const at::Tensor& sum_MN, const at::Tensor& a_MK, const at::Tensor& b_KN) {
  for_each_row_block(sum_MN.device(), a_MK.size(0), a_MK.size(1), b_KN.size(1),
                     [&](std::int64_t begin, std::int64_t count) {
                       at::Tensor sum = rows_of(sum_MN, begin, count);
                       const at::Tensor a = rows_of(a_MK, begin, count);
                       if (sum.scalar_type() == a.scalar_type()) {
                         sum.addmm_(a, b_KN);
                       } else if (sum.is_cuda()) {
                         at::addmm_out(sum, sum, a, b_KN, sum.scalar_type());
                       } else {
                         sum.add_(at::mm(a, b_KN));
                       }
                     });
}

}  // namespace switchyard::ops
