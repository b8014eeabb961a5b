// `switchyard pretrain`.
#include "switchyard/train/pretrain.h"

#include <optional>

#include "cli/engine/on_ranks.h"
#include "cli/engine/verbs.h"
#include "switchyard/comm/text.h"
#include "switchyard/config/begin.h"
#include "switchyard/config/folders.h"
#include "switchyard/config/resume.h"
#include "switchyard/train/stop_signal.h"

namespace switchyard::cli {

int run_pretrain(const config::ParsedArguments& arguments) {
  const config::Resolved resolved = config::load_for_pretrain(arguments);
  train::outlive_closed_output();
  return on_ranks(resolved.config, arguments.debug(), [&](comm::Communicator& world) {
    const bool leads = world.rank() == 0;  // the others may find the folder begun
    const bool is_there =
        leads && arguments.has("--or-resume") && config::holds_run(resolved.config.run.dir);
    if (!comm::text_of_first(world, is_there ? "yes" : "", "is there a run").empty()) {
      (void)train::resume(config::checked_for_resume(resolved), {}, std::nullopt, world);
      return;
    }
    if (leads) config::check_folders_of_run(resolved);
    (void)train::pretrain(resolved.config, world);
  });
}

}  // namespace switchyard::cli
