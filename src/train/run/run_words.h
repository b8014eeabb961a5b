// What a run says at its beginning and its end.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "switchyard/config/config.h"
#include "switchyard/parallel/rank_layout.h"
#include "switchyard/train/task.h"
#include "train/run/checkpoint_keeper.h"
#include "train/run/environment.h"

namespace switchyard::train {

// What is trained, with what. `run`: its folder.
void announce(const std::string& run, const config::Config& config, Task& task,
              const Environment& environment, const parallel::RankLayout& layout);

// More steps than the schedule has go on at its last learning rate, which may be 0. `first_step`:
// those made before this process.
void warn_of_a_schedule_that_ended(const config::Config& config, std::int64_t first_step);

// bf16 on a CPU that computes faster in fp32: it has no instructions for bf16, or slow ones.
void warn_of_a_slow_precision(const Environment& environment);

// What makes training on this GPU much slower than it has to be, and what to do.
[[nodiscard]] std::vector<std::string> slow_on_gpu(const config::Config& config, at::Device gpu,
                                                   const parallel::RankLayout& layout);
void warn_of_slow_gpu_settings(const config::Config& config, const parallel::RankLayout& layout);

// A run that goes on where it is not what it was made with (environment.json), or on a GPU that
// adds up in any order.
void warn_of_other_bits(const std::map<std::string, std::string>& then,
                        const std::map<std::string, std::string>& now,
                        const config::Config& config);

struct RunEnd {
  std::int64_t first_step = 0;  // where this process began
  std::int64_t step = 0;
  std::int64_t total_steps = 0;
  std::int64_t num_tokens = 0;  // of this process
  double seconds = 0.0;
  bool stopped_early = false;
};
void tell_end(const std::string& run, const Task& task, const CheckpointKeeper& checkpoints,
              const RunEnd& end);

}  // namespace switchyard::train
