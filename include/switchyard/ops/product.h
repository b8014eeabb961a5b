// Matrix products without autograd.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

namespace switchyard::ops {

// Whether the product of [M, K] with [K, N] is small: two threads that have a core each gain
// nothing or little by it, and lose much where they have not (`kernel_benchmark
// --benchmark_filter=small_product`, on two cores).
[[nodiscard]] bool is_small_product(std::int64_t m, std::int64_t k, std::int64_t n);

// Calls multiply(begin, count), without autograd, for blocks of rows of the [M, N] result of that
// product. LibTorch's own products start threads twice even for small sizes, and add in an order
// that depends on their number. So on a CPU a small product is one block, on the calling thread;
// one of up to 16 times the size, with 128 rows or more, is cut into equal blocks for core's
// parallel_for; any other is one block, left to LibTorch's threads. The blocks depend on the sizes
// alone, not on the number of threads.
void for_each_row_block(
    at::Device device, std::int64_t m, std::int64_t k, std::int64_t n,
    const std::function<void(std::int64_t begin, std::int64_t count)>& multiply);

// a_MK b_KN, by those blocks. Of one dtype and device.
[[nodiscard]] at::Tensor product(const at::Tensor& a_MK, const at::Tensor& b_KN);

// The same, written to out_MN.
void product_into(const at::Tensor& out_MN, const at::Tensor& a_MK, const at::Tensor& b_KN);

// sum_MN += a_MK b_KN in place. a and b of one dtype, sum in its accumulation type; one device. In
// bf16 a GPU's product adds to the sum itself; a CPU's is rounded to bf16 first.
void add_product(const at::Tensor& sum_MN, const at::Tensor& a_MK, const at::Tensor& b_KN);

}  // namespace switchyard::ops
