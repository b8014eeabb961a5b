#include "switchyard/config/begin.h"

#include <iterator>
#include <utility>
#include <vector>

#include "config/load_sources.h"
#include "config/yaml/value.h"
#include "switchyard/core/text.h"

namespace switchyard::config {
namespace {

std::map<std::string, std::string> origins_of(const std::vector<Source>& sources) {
  std::map<std::string, std::string> origins;
  for (const Source& source : sources) {
    for (const Setting& setting : source.settings) {
      origins[setting.key] = setting.position.origin();
    }
  }
  return origins;
}

std::vector<Source> read_settings(const std::filesystem::path& file) {
  Problems problems;
  std::vector<Source> sources = read_files(file, problems);
  if (!problems.empty()) throw ConfigError(problems.lines(), "mend the file");
  return sources;
}

Source read_settings(std::span<const std::string> overrides) {
  Problems problems;
  Source source = read_overrides(overrides, problems);
  if (!problems.empty()) throw ConfigError(problems.lines(), kReferenceHint);
  return source;
}

}  // namespace

Resolved load_for_pretrain(const ParsedArguments& arguments) {
  std::vector<std::string> overrides = arguments.overrides();
  if (arguments.has("--from")) {
    const auto from = std::filesystem::absolute(arguments.text("--from")).lexically_normal();
    overrides.push_back("run.from=" + text_to_yaml(from.string()));
  }
  return load(arguments.text("CONFIG.yaml"), overrides);
}

Resolved load_over(const std::filesystem::path& base, const std::filesystem::path& file,
                   std::span<const std::string> overrides) {
  Problems problems;
  std::vector<Source> sources = read_files(base, problems);
  std::vector<Source> settings = read_files(file, problems);
  sources.insert(sources.end(), std::make_move_iterator(settings.begin()),
                 std::make_move_iterator(settings.end()));
  return load_sources(std::move(sources), printable_line(file.string()), overrides, Scope::kRun,
                      problems);
}

std::map<std::string, std::string> settings_in(const std::filesystem::path& file) {
  return origins_of(read_settings(file));
}

std::map<std::string, std::string> settings_in(std::span<const std::string> overrides) {
  return origins_of({read_settings(overrides)});
}

std::optional<std::string> value_set(std::string_view key,
                                     std::span<const std::filesystem::path> files,
                                     std::span<const std::string> overrides) {
  std::optional<std::string> value;
  const auto look = [&](const Source& source) {
    for (const Setting& setting : source.settings) {
      if (setting.key == key) value = setting.node.text;
    }
  };
  for (const std::filesystem::path& file : files) {
    for (const Source& source : read_settings(file)) look(source);
  }
  look(read_settings(overrides));
  return value;
}

}  // namespace switchyard::config
