#include "train/out_of_memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "switchyard/config/router.h"
#include "switchyard/core/error.h"
#include "switchyard/core/text.h"

namespace switchyard::train {
namespace {

// LibTorch has a type for GPUs only; its CPU allocators say it in words.
bool is_out_of_memory(const c10::Error& error) {
  if (dynamic_cast<const c10::OutOfMemoryError*>(&error) != nullptr) return true;
  const std::string text = error.what_without_backtrace();
  return text.find("DefaultCPUAllocator") != std::string::npos ||
         text.find("not enough memory") != std::string::npos;
}

// "Tried to allocate 2.00 GiB ...": the first line, without the source file before it.
std::string what_failed(const c10::Error& error) {
  std::string text = error.what_without_backtrace();
  text.resize(std::min(text.find('\n'), text.size()));
  for (const char* start : {"Tried to allocate", "DefaultCPUAllocator", "CUDA out of memory"}) {
    if (const std::size_t at = text.find(start); at != std::string::npos) return text.substr(at);
  }
  return text;
}

}  // namespace

void explain_out_of_memory(const c10::Error& error, const config::Config& config, std::int64_t step,
                           double experts_per_token) {
  if (!is_out_of_memory(error)) return;
  std::vector<std::string> keys;
  if (config.train.micro_batch_size > 1) {
    keys.push_back(fmt::format("train.micro_batch_size (now {})", config.train.micro_batch_size));
  }
  if (!config.train.recompute) keys.emplace_back("train.recompute=true");
  std::string experts;
  if (config.model.moe.num_experts > 0) {
    if (experts_per_token > 0.0) {
      experts =
          fmt::format("; tokens had {:.2f} experts each in the step before", experts_per_token);
    }
    const config::RouterConfig& router = config.model.moe.router;
    const auto advice = config::descriptor_of(router).to_need_less_memory;
    std::string advised = advice == nullptr ? "" : advice(router);
    if (!advised.empty()) keys.push_back(std::move(advised));
  }
  keys.push_back(fmt::format("data.sequence_length (now {})", config.data.sequence_length));
  throw UsageError(fmt::format("step {} needs more memory than there is: {}{}", step,
                               what_failed(error), experts),
                   "to need less: " + join(keys, ", ") + "; the global batch stays as it is");
}

}  // namespace switchyard::train
