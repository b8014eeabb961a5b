// Names of a run's checkpoints: of their folders (step-000500), and those that people type
// (RUN@best, RUN@latest, RUN@500).
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace switchyard::config {

inline constexpr std::string_view kStepPrefix = "step-";
// Behind the name of a step whose weights or loss were not finite.
inline constexpr std::string_view kUnsoundSuffix = ".unsound";
// Files beside the steps, which hold the name of one.
inline constexpr const char* kLatestPointer = "LATEST";
inline constexpr const char* kBestPointer = "BEST";

// "step-000500".
[[nodiscard]] std::string step_name(std::int64_t step);
// 500 of "step-000500" and "step-000500.unsound"; nothing for other names and for numbers beyond 64
// bits.
[[nodiscard]] std::optional<std::int64_t> step_in_name(std::string_view folder_name);
// The name of a step that is not marked as unsound?
[[nodiscard]] bool is_step_name(std::string_view folder_name);

struct NamedRun {
  std::filesystem::path run;
  std::string checkpoint = {};  // "best", "latest" or a step; empty when only the run is named
};

// Cut at the last '@' when such a name follows it and no file is called like the whole.
[[nodiscard]] NamedRun parse_named_run(const std::string& text);

// "best", "latest" or a step from 0 on?
[[nodiscard]] bool is_checkpoint_name(std::string_view name);

// The folder of the checkpoint that is called so in the run in `run`; empty when there is none.
// "latest" is the newest whole one that is sound, which is also what a run without a name stands
// for and what a resume goes on from; "best" is the one that train.keep_best kept; a step is found
// sound or not. Only names are looked at. (LATEST in the folder names it too, for other programs; a
// save whose last rename failed leaves an older one there.)
[[nodiscard]] std::filesystem::path named_checkpoint(const std::filesystem::path& run,
                                                     std::string_view name);
// For messages: "there is no best one (train.keep_best=true keeps it); there are step-000500 and
// step-001000".
[[nodiscard]] std::string no_such_checkpoint(const std::filesystem::path& run,
                                             std::string_view name);

}  // namespace switchyard::config
