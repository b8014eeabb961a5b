#include "train/out_of_memory.h"

#include <fmt/format.h>

#include <string>
#include <utility>
#include <vector>

#include "switchyard/config/router.h"
#include "switchyard/core/error.h"
#include "switchyard/core/text.h"
#include "switchyard/ops/out_of_memory.h"

namespace switchyard::train {
void explain_out_of_memory(const std::exception& error, const config::Config& config,
                           std::int64_t step, double experts_per_token) {
  if (!ops::is_out_of_memory(error)) return;
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
  throw OutOfMemoryError(fmt::format("step {} needs more memory than there is: {}{}", step,
                                     ops::short_message(error), experts),
                         "to need less: " + join(keys, ", ") + "; the global batch stays as it is");
}

}  // namespace switchyard::train
