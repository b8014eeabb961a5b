// Memory that ran out, told from other errors, and errors of LibTorch in few words.
#pragma once

#include <exception>
#include <string>

namespace switchyard::ops {

// std::bad_alloc, LibTorch's type for GPUs, and what its CPU allocators say in words.
[[nodiscard]] bool is_out_of_memory(const std::exception& error);

// One line for people: what() without the stack trace that LibTorch appends; of memory that ran out
// what was being allocated ("Tried to allocate 2.00 GiB ..."), without the source file before it.
[[nodiscard]] std::string short_message(const std::exception& error);

}  // namespace switchyard::ops
