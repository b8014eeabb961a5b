// Names of a run's checkpoints that people type: RUN@best, RUN@latest, RUN@500.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace switchyard::config {

struct NamedRun {
  std::filesystem::path run;
  std::string checkpoint = {};  // "best", "latest" or a step; empty when only the run is named
};

// Cut at the last '@' when such a name follows it and no file is called like the whole.
[[nodiscard]] NamedRun parse_named_run(const std::string& text);

// "best", "latest" or a step from 0 on?
[[nodiscard]] bool is_checkpoint_name(std::string_view name);

// The folder of the checkpoint that is called so in the run in `run`; empty when there is none.
// "latest" is the newest sound one, "best" the one that train.keep_best kept; a step is found sound
// or not. Only names are looked at.
[[nodiscard]] std::filesystem::path named_checkpoint(const std::filesystem::path& run,
                                                     std::string_view name);
// 500 of "step-000500" and "step-000500.unsound"; nothing for other names and for numbers beyond 64
// bits.
[[nodiscard]] std::optional<std::int64_t> step_in_name(std::string_view folder_name);

// For messages: "there is no best one (train.keep_best=true keeps it); there are step-000500 and
// step-001000".
[[nodiscard]] std::string no_such_checkpoint(const std::filesystem::path& run,
                                             std::string_view name);

}  // namespace switchyard::config
