// YAML configs and command-line overrides. Up to the first NUL the input is the file, then each
// stretch up to the next NUL is one override.
#include <string>
#include <string_view>
#include <vector>

#include "fuzz/fuzz.h"
#include "switchyard/config/load.h"

namespace {

using switchyard::fuzz::require;

// What loads is written in two ways that load as the same.
void check_round_trip(const switchyard::config::Resolved& resolved) {
  namespace config = switchyard::config;
  require(config::load_text(config::to_yaml(resolved.config), "again.yaml", {}).config ==
              resolved.config,
          "to_yaml() loads as the same config");
  require(config::load_text(config::show(resolved), "shown.yaml", {}).config == resolved.config,
          "show() loads as the same config");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view rest = switchyard::fuzz::as_text(data, size);
  std::vector<std::string> parts;
  while (parts.empty() || !rest.empty()) {
    const std::size_t end = std::min(rest.find('\0'), rest.size());
    parts.emplace_back(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  const std::string yaml = std::move(parts.front());
  parts.erase(parts.begin());
  try {
    // A folder that does not exist: relative `extends` find nothing.
    check_round_trip(switchyard::config::load_text(yaml, "/nowhere/x.yaml", parts));
  } catch (const switchyard::config::ConfigError& error) {
    require(!error.problems().empty(), "a refused config has a problem");
    require(error.problems().size() <= 51, "the list of problems is bounded");
    for (const std::string& problem : error.problems()) switchyard::fuzz::check_message(problem);
  }
  return 0;
}
