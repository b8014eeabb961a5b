// What `switchyard pretrain` and `finetune` were asked for.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "switchyard/config/load.h"
#include "switchyard/config/options.h"

namespace switchyard::config {

// The file and the command line, where --from stands for run.from: an absolute path, so that the
// run finds it from everywhere. Throws as load() does.
[[nodiscard]] Resolved load_for_pretrain(const ParsedArguments& arguments);

// A file of settings over the configuration of another run: `base` is its file. Throws as load()
// does.
[[nodiscard]] Resolved load_over(const std::filesystem::path& base,
                                 const std::filesystem::path& file,
                                 std::span<const std::string> overrides);
// What a file and those that it extends, or a command line's overrides, set, by dotted key: where
// ("x.yaml:3", "command line"). Throws ConfigError for what is wrong by itself.
[[nodiscard]] std::map<std::string, std::string> settings_in(const std::filesystem::path& file);
[[nodiscard]] std::map<std::string, std::string> settings_in(
    std::span<const std::string> overrides);
// What the last of the files (with those that they extend), or the overrides, set a scalar to;
// nothing where none does. Throws ConfigError for what is wrong by itself: together they need not
// be all that a run takes.
[[nodiscard]] std::optional<std::string> value_set(std::string_view key,
                                                   std::span<const std::filesystem::path> files,
                                                   std::span<const std::string> overrides);

}  // namespace switchyard::config
