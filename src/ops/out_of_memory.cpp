#include "switchyard/ops/out_of_memory.h"

#include <c10/util/Exception.h>

#include <algorithm>

#include "switchyard/core/exit_code.h"

namespace switchyard::ops {

bool is_out_of_memory(const std::exception& error) {
  if (switchyard::is_out_of_memory(error)) return true;
  const auto* of_torch = dynamic_cast<const c10::Error*>(&error);
  if (of_torch == nullptr) return false;
  if (dynamic_cast<const c10::OutOfMemoryError*>(of_torch) != nullptr) return true;
  const std::string text = of_torch->what_without_backtrace();
  return text.find("DefaultCPUAllocator") != std::string::npos ||
         text.find("not enough memory") != std::string::npos;
}

std::string short_message(const std::exception& error) {
  const auto* of_torch = dynamic_cast<const c10::Error*>(&error);
  if (of_torch == nullptr) return std::string(words_of(error));
  std::string text = of_torch->what_without_backtrace();
  text.resize(std::min(text.find('\n'), text.size()));
  if (!is_out_of_memory(error)) return text;
  for (const char* start : {"Tried to allocate", "DefaultCPUAllocator", "CUDA out of memory"}) {
    if (const std::size_t at = text.find(start); at != std::string::npos) return text.substr(at);
  }
  return text;
}

}  // namespace switchyard::ops
