// What the files and the command line say about fine-tuning, and what of it cannot be.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "switchyard/config/config.h"
#include "switchyard/glue/finetune.h"

namespace switchyard::glue {

// Where each key is set (config::settings_in).
using Origins = std::map<std::string, std::string>;

inline constexpr const char* kWarmup = "schedule.warmup_steps";
inline constexpr const char* kDecay = "schedule.decay_steps";
inline constexpr const char* kRate = "optim.learning_rate";
inline constexpr const char* kRates = "finetune.learning_rates";

// What a file and the command line say, and finetune leaves as it is. `options` must outlive it.
struct Said {
  explicit Said(const FinetuneOptions& options);

  // A file of --from none is one of pretraining: the lengths of its schedule are of that.
  [[nodiscard]] bool at_all(const std::string& key) const;

  Origins in_file;
  Origins given;
  const std::vector<std::string>& overrides;
  bool file_pretrains = false;
};

// It follows from the rows, the ranks and the command's flags.
[[nodiscard]] bool is_decided(std::string_view key);
// Fine-tuning reads it nowhere: where it differs, no result does.
[[nodiscard]] bool is_unread(std::string_view key);

// Throws UsageError for a setting that is one of the two.
void refuse_foreign(const Origins& settings);
// Throws UsageError for settings of `finetune.*` that contradict each other or that the tasks have
// no use for.
void check_finetune_settings(const config::Config& config, const Said& said, bool is_custom);

}  // namespace switchyard::glue
