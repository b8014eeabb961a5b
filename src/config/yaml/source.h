// The sources of a configuration (preset, files of the `extends` chain, command line), each read
// and checked by itself against the field table.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "config/yaml/document.h"
#include "switchyard/config/field_table.h"

namespace switchyard::config {

// One value that a source gives to a field.
struct Setting {
  std::string key;  // the field's, or model.moe.router.per_layer.<layer>.<option>
  const Field* field = nullptr;
  std::optional<std::int64_t> layer{};  // of a per-layer router option
  Node node{};
  Position position{};
};

struct Source {
  std::vector<Setting> settings;
  std::set<std::string> bad_keys;  // set here to something wrong; not among `settings`
};

// What stands where a configuration should, which is read more than once: "a pipe, which ...", "a
// folder ...". Empty for a regular file, for a link to one, and where nothing is.
[[nodiscard]] std::string_view other_than_file(const std::filesystem::path& path);
// The chain of `extends` that ends in this file, base first. Problems are added.
[[nodiscard]] std::vector<Source> read_files(const std::filesystem::path& file, Problems& problems);
// The same when the last file is given as text.
[[nodiscard]] std::vector<Source> read_text(std::string_view yaml, std::string_view name,
                                            Problems& problems);
// One parsed document.
[[nodiscard]] Source read_document(const Node& root, Problems& problems);
// All "key.sub=value" arguments.
[[nodiscard]] Source read_overrides(std::span<const std::string> overrides, Problems& problems);

// " (did you mean ...?)" for a name that is unknown in `group`; empty when nothing is near.
[[nodiscard]] std::string key_suggestion(std::string_view group, std::string_view name);

}  // namespace switchyard::config
