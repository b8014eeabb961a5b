#include "switchyard/config/resume.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "config/yaml/value.h"
#include "switchyard/config/data_folders.h"
#include "switchyard/config/field_table.h"
#include "switchyard/config/finetune_folder.h"
#include "switchyard/config/folders.h"
#include "switchyard/core/error.h"
#include "switchyard/core/text.h"

namespace switchyard::config {
namespace {

bool is_under(std::string_view key, std::string_view group) {
  return key.size() > group.size() && key.starts_with(group) && key[group.size()] == '.';
}

bool is_allowed(const Change& change, const AllowedChanges& allowed) {
  const Field* field = find_field(change.key);
  if (field != nullptr && field->free_on_resume) return true;
  // Pretraining reads none of them, so that an earlier version's defaults stop no run of it;
  // finetune looks itself at what a seed was trained with.
  if (is_under(change.key, "finetune")) return true;
  if (allowed.router && change.key.starts_with(kRouterPrefix)) return true;
  return std::any_of(allowed.keys.begin(), allowed.keys.end(), [&](const std::string& key) {
    return change.key == key || is_under(change.key, key);
  });
}

}  // namespace

std::vector<Change> changes(const Config& before, const Config& after) {
  std::vector<Change> found;
  const std::string& type_before = before.model.moe.router.type;
  const std::string& type_after = after.model.moe.router.type;
  for (const Field& field : all_fields()) {
    const bool is_option = field.key.starts_with(kRouterPrefix) && field.key != kRouterTypeKey;
    if (field.key == kPerLayerKey) {
      if (before.model.moe.router_of_layer != after.model.moe.router_of_layer) {
        found.push_back({.key = field.key, .before = "as it was", .after = "other routers"});
      }
      continue;
    }
    if (is_option && (type_before != type_after || !field.known_to(type_after))) continue;
    std::string old_value = value_text(field, before);
    std::string new_value = value_text(field, after);
    if (old_value == new_value) continue;
    found.push_back(
        {.key = field.key, .before = std::move(old_value), .after = std::move(new_value)});
  }
  return found;
}

AllowedChanges allowed_changes(const ParsedArguments& arguments) {
  AllowedChanges allowed{.router = arguments.has("--allow-router-change")};
  for (const std::string& list : arguments.texts("--allow-change")) {
    for (const std::string_view key : split(list, ",")) allowed.keys.emplace_back(key);
  }
  return allowed;
}

void check_changes_on_resume(std::span<const Change> changes, const AllowedChanges& allowed,
                             const std::string& advice) {
  std::vector<std::string> problems;
  std::vector<std::string> keys;
  bool only_router = true;
  for (const Change& change : changes) {
    if (is_allowed(change, allowed)) continue;
    problems.push_back(fmt::format("{}: the run was started with {}, now it is {}", change.key,
                                   change.before, change.after));
    keys.push_back(change.key);
    only_router = only_router && change.key.starts_with(kRouterPrefix);
  }
  if (problems.empty()) return;
  throw ConfigError(
      std::move(problems),
      advice + (only_router ? "--allow-router-change goes on with another router, whose state "
                              "starts afresh"
                            : fmt::format("--allow-change {} goes on with what was changed; the "
                                          "run is then no longer what an uninterrupted one would "
                                          "be",
                                          join(keys, ","))));
}

Config load_for_resume(const std::filesystem::path& run, std::span<const std::string> overrides,
                       const AllowedChanges& allowed) {
  if (const std::filesystem::path output = finetune_of_seed(run); !output.empty()) {
    throw UsageError(fmt::format("{} is a seed of `switchyard finetune`, which resume cannot go on "
                                 "with",
                                 printable_line(run.string())),
                     fmt::format("the same finetune command again, with --output {}, goes on where "
                                 "it was stopped",
                                 shell_path(output.string())));
  }
  const std::filesystem::path file = run / kResolvedConfigName;
  const Config before = load(file, {}).config;
  Resolved resolved = load(file, overrides);
  check_changes_on_resume(changes(before, resolved.config), allowed);
  find_moved_data(resolved.config.data, run);
  check_data_of_run(resolved, run);
  resolved.config.run.dir = run.string();
  return resolved.config;
}

Config checked_for_resume(Resolved resolved) {
  Config& config = resolved.config;
  const std::filesystem::path run = config.run.dir;
  const Config own = load(run / kResolvedConfigName, {}).config;
  if (config.model.vocab_size == 0) config.model.vocab_size = own.model.vocab_size;
  Config moved = own;
  moved.run.dir = config.run.dir;
  check_changes_on_resume(
      changes(moved, config), {},
      fmt::format("`switchyard resume {}` goes on with what the run has; there ",
                  shell_path(run.string())));
  find_moved_data(config.data, run);
  check_data_of_run(resolved, run);
  return config;
}

}  // namespace switchyard::config
