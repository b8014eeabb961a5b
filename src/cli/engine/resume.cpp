// `switchyard resume`.
#include "switchyard/config/resume.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "cli/engine/on_ranks.h"
#include "cli/engine/verbs.h"
#include "switchyard/config/checkpoint_names.h"
#include "switchyard/core/error.h"
#include "switchyard/train/pretrain.h"
#include "switchyard/train/stop_signal.h"

namespace switchyard::cli {
namespace {

// Of a number the run loop says which ones there are.
std::int64_t step_to_go_on_from(const config::ParsedArguments& arguments) {
  const std::string name = arguments.text("--from");
  if (name != "best" && name != "latest") return arguments.integer("--from");
  const std::filesystem::path run = arguments.text("RUN");
  const std::filesystem::path checkpoint = config::named_checkpoint(run, name);
  const auto step = config::step_in_name(checkpoint.filename().string());
  if (!step) throw UsageError("--from: " + config::no_such_checkpoint(run, name));
  return *step;
}

}  // namespace

int run_resume(const config::ParsedArguments& arguments) {
  const config::AllowedChanges allowed = config::allowed_changes(arguments);
  std::optional<std::int64_t> from;
  if (arguments.has("--from")) from = step_to_go_on_from(arguments);
  train::outlive_closed_output();
  const config::Config config =
      config::load_for_resume(arguments.text("RUN"), arguments.overrides(), allowed);
  return on_ranks(config, arguments.debug(), [&](comm::Communicator& world) {
    (void)train::resume(config, allowed, from, world);
  });
}

}  // namespace switchyard::cli
