// What may differ between a run and its continuation.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "switchyard/config/config.h"
#include "switchyard/config/load.h"
#include "switchyard/config/options.h"

namespace switchyard::config {

struct Change {
  std::string key;  // "optim.learning_rate"
  std::string before;
  std::string after;
};

// Fields whose values differ, in the order of the field table. Options of two different router
// types are left out: the change of type says it.
[[nodiscard]] std::vector<Change> changes(const Config& before, const Config& after);

struct AllowedChanges {
  std::vector<std::string> keys = {};  // fields or groups: "optim.learning_rate", "optim"
  bool router = false;                 // everything under model.moe.router
};

// --allow-change and --allow-router-change of the verb `resume`.
[[nodiscard]] AllowedChanges allowed_changes(const ParsedArguments& arguments);

// Lets through what the field table calls free on resume, and `allowed`. Throws ConfigError with
// one line per other change; `advice` begins its hint.
void check_changes_on_resume(std::span<const Change> changes, const AllowedChanges& allowed,
                             const std::string& advice = {});

// The config that the run in `run` goes on with: its resolved config and `overrides` on top, with
// run.dir = `run` wherever it was before, and its data where they are spelled or else where the run
// remembers them (config/data_folders.h). A router of another type has its own defaults, not what
// the run spells out of options that both know. Throws ConfigError as load() does, for changes that
// are not allowed, and when the data is not there.
[[nodiscard]] Config load_for_resume(const std::filesystem::path& run,
                                     std::span<const std::string> overrides,
                                     const AllowedChanges& allowed);

// Of `pretrain --or-resume`, whose run.dir holds a run already: what was read from the file and the
// command line, once it is what the run has but for what is free on resume. Throws ConfigError for
// other changes and when the data is not there.
[[nodiscard]] Config checked_for_resume(Resolved resolved);

}  // namespace switchyard::config
