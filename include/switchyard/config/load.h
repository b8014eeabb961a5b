// From YAML files and command-line overrides to one resolved Config.
//
// Layers, lowest first: defaults, preset, the `extends` chain, the file, the command line. Maps
// merge, everything else replaces. When a layer changes `model.moe.router.type`, options of earlier
// layers that the new type does not know are dropped; in the same layer they are an error.
#pragma once

#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "switchyard/config/config.h"
#include "switchyard/core/error.h"

namespace switchyard::config {

// Everything that is wrong with a configuration; what() has one problem per line.
class ConfigError : public UsageError {
 public:
  ConfigError(std::vector<std::string> problems, const std::string& hint);
  [[nodiscard]] const std::vector<std::string>& problems() const noexcept { return problems_; }

 private:
  std::vector<std::string> problems_;
};

struct Resolved {
  Config config;
  // By dotted key: "default", "default for top_p", "configs/x.yaml:12", "command line",
  // "preset huang-3.5b". Options of single layers are under model.moe.router.per_layer.<layer>.
  std::map<std::string, std::string> origin_of_key;
  // Options that a later layer made meaningless, one line each.
  std::vector<std::string> dropped;
};

// Reads, merges, resolves and validates a run's configuration. `overrides` are "key.sub=value".
// Throws ConfigError with all problems; StorageError never (an unreadable file is a problem).
[[nodiscard]] Resolved load(const std::filesystem::path& file,
                            std::span<const std::string> overrides);
// The same for text; `name` stands for the file in messages, and `extends` is relative to it.
[[nodiscard]] Resolved load_text(std::string_view yaml, std::string_view name,
                                 std::span<const std::string> overrides);
// Only a model: `yaml` holds the `model:` group, nothing of a run is required.
[[nodiscard]] ModelConfig load_model_text(std::string_view yaml, std::string_view name,
                                          std::span<const std::string> overrides = {});

// Every field with its value: load_text(to_yaml(c)) gives c again.
[[nodiscard]] std::string to_yaml(const Config& config);
// to_yaml with the origin of every value as a comment, and the dropped options.
[[nodiscard]] std::string show(const Resolved& resolved);

// All keys with type, default, range and help, for a terminal and as docs/config.md.
[[nodiscard]] std::string reference_text();
// One line per key, for --help.
[[nodiscard]] std::string reference_summary();
[[nodiscard]] std::string reference_markdown();

}  // namespace switchyard::config
