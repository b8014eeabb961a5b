#include "switchyard/ops/out_of_memory.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <iterator>

#include "switchyard/core/exit_code.h"

namespace switchyard::ops {

bool is_out_of_memory(const std::exception& error) {
  if (switchyard::is_out_of_memory(error)) return true;
  const auto* of_torch = dynamic_cast<const c10::Error*>(&error);
  if (of_torch == nullptr) return false;
  if (dynamic_cast<const c10::OutOfMemoryError*>(of_torch) != nullptr) return true;
  const std::string text = of_torch->what_without_backtrace();
  // Of a GPU without a type of their own: memory of a cuBLAS handle, of pinned pages, and of
  // expandable segments.
  constexpr const char* kWords[] = {"DefaultCPUAllocator", "not enough memory",
                                    "CUBLAS_STATUS_ALLOC_FAILED", "CUDA error: out of memory",
                                    "CUDA driver error: out of memory"};
  return std::any_of(std::begin(kWords), std::end(kWords),
                     [&text](const char* words) { return text.find(words) != std::string::npos; });
}

std::string short_message(const std::exception& error) {
  const auto* of_torch = dynamic_cast<const c10::Error*>(&error);
  if (of_torch == nullptr) return words_of(error);
  std::string text = of_torch->what_without_backtrace();
  text.resize(std::min(text.find('\n'), text.size()));
  if (!is_out_of_memory(error)) return text;
  for (const char* start : {"Tried to allocate", "DefaultCPUAllocator", "CUDA out of memory"}) {
    if (const std::size_t at = text.find(start); at != std::string::npos) return text.substr(at);
  }
  return text;
}

}  // namespace switchyard::ops
