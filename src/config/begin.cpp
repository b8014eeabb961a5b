#include "switchyard/config/begin.h"

#include <filesystem>
#include <string>
#include <vector>

namespace switchyard::config {

Resolved load_for_pretrain(const ParsedArguments& arguments) {
  std::vector<std::string> overrides = arguments.overrides();
  if (arguments.has("--from")) {
    overrides.push_back(
        "run.from=" +
        std::filesystem::absolute(arguments.text("--from")).lexically_normal().string());
  }
  return load(arguments.text("CONFIG.yaml"), overrides);
}

}  // namespace switchyard::config
