// `switchyard resume`.
#include "switchyard/config/resume.h"

#include <cstdint>
#include <optional>

#include "cli/engine/verbs.h"
#include "switchyard/core/exit_code.h"
#include "switchyard/train/pretrain.h"
#include "switchyard/train/stop_signal.h"

namespace switchyard::cli {

int run_resume(const config::ParsedArguments& arguments) {
  const config::AllowedChanges allowed = config::allowed_changes(arguments);
  std::optional<std::int64_t> from;
  if (arguments.has("--from")) from = arguments.integer("--from");
  train::outlive_closed_output();
  (void)train::resume(
      config::load_for_resume(arguments.text("RUN"), arguments.overrides(), allowed), allowed,
      from);
  return kExitDone;
}

}  // namespace switchyard::cli
