// `switchyard resume`.
#include "switchyard/config/resume.h"

#include "cli/engine/verbs.h"
#include "switchyard/core/exit_code.h"
#include "switchyard/train/pretrain.h"

namespace switchyard::cli {

int run_resume(const config::ParsedArguments& arguments) {
  const config::AllowedChanges allowed = config::allowed_changes(arguments);
  (void)train::resume(
      config::load_for_resume(arguments.text("RUN"), arguments.overrides(), allowed), allowed);
  return kExitDone;
}

}  // namespace switchyard::cli
