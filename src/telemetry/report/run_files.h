// What a run folder holds, read as far as it can be read.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "switchyard/config/config.h"
#include "switchyard/telemetry/read_metrics.h"

namespace switchyard::telemetry {

struct SampleFile {
  std::string name;  // step-000500.txt
  std::string text;
};

struct RunFiles {
  std::string name;  // of the folder
  Metrics metrics = {};
  std::string config_text = {};               // config.resolved.yaml as it is
  std::optional<config::Config> config = {};  // none when the text is missing or damaged
  std::vector<SampleFile> samples = {};       // the newest few, newest first
  std::size_t num_samples = 0;                // how many there are
  std::vector<std::pair<std::string, std::string>> environment = {};
  std::vector<std::string> notes = {};  // what is missing or damaged, for people
};

// Never throws for what is in the folder: the notes tell.
[[nodiscard]] RunFiles read_run(const std::filesystem::path& run);

}  // namespace switchyard::telemetry
