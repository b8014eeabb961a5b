// `switchyard pretrain`.
#include "switchyard/train/pretrain.h"

#include "cli/engine/verbs.h"
#include "switchyard/config/folders.h"
#include "switchyard/config/load.h"
#include "switchyard/core/exit_code.h"
#include "switchyard/train/stop_signal.h"

namespace switchyard::cli {

int run_pretrain(const config::ParsedArguments& arguments) {
  const config::Resolved resolved =
      config::load(arguments.text("CONFIG.yaml"), arguments.overrides());
  config::check_folders_of_run(resolved);
  train::outlive_closed_output();
  (void)train::pretrain(resolved.config);
  return kExitDone;
}

}  // namespace switchyard::cli
