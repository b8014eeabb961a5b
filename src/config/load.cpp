#include "switchyard/config/load.h"

#include <fmt/format.h>

#include <utility>

#include "config/load_sources.h"
#include "config/merge.h"
#include "config/resolve.h"
#include "config/rules/validate.h"
#include "config/yaml/source.h"
#include "switchyard/core/text.h"

namespace switchyard::config {
namespace {

// Every value is right by itself, so no list of keys would help.
constexpr const char* kRelationHint =
    "change it in the file, or as key.sub=value on the command line";

[[noreturn]] void raise(const Problems& problems, const char* hint) {
  std::vector<std::string> lines = problems.lines();
  if (problems.num_left_out() > 0) {
    lines.push_back(fmt::format("... and {} more problems", problems.num_left_out()));
  }
  throw ConfigError(std::move(lines), hint);
}

}  // namespace

ConfigError::ConfigError(std::vector<std::string> problems, const std::string& hint)
    : UsageError(join(problems, "\n"), hint), problems_(std::move(problems)) {}

Resolved load_sources(std::vector<Source> sources, const std::string& name,
                      std::span<const std::string> overrides, Scope scope, Problems& problems) {
  sources.push_back(read_overrides(overrides, problems));
  if (problems.incomplete()) raise(problems, kReferenceHint);
  Merged merged = merge(std::move(sources), problems);
  WithOrigins resolved = resolve(merged);
  const char* const hint = problems.empty() ? kRelationHint : kReferenceHint;
  validate(resolved.config, merged, scope, name, problems);
  if (!problems.empty()) raise(problems, hint);
  return {.config = std::move(resolved.config),
          .origin_of_key = std::move(resolved.origin_of_key),
          .dropped = std::move(merged.dropped)};
}

Resolved load(const std::filesystem::path& file, std::span<const std::string> overrides) {
  Problems problems;
  std::vector<Source> sources = read_files(file, problems);
  return load_sources(std::move(sources), printable_line(file.string()), overrides, Scope::kRun,
                      problems);
}

Resolved load_text(std::string_view yaml, std::string_view name,
                   std::span<const std::string> overrides) {
  Problems problems;
  std::vector<Source> sources = read_text(yaml, name, problems);
  return load_sources(std::move(sources), printable_line(name), overrides, Scope::kRun, problems);
}

ModelConfig load_model_text(std::string_view yaml, std::string_view name,
                            std::span<const std::string> overrides) {
  Problems problems;
  std::vector<Source> sources = read_text(yaml, name, problems);
  return load_sources(std::move(sources), printable_line(name), overrides, Scope::kModelOnly,
                      problems)
      .config.model;
}

}  // namespace switchyard::config
