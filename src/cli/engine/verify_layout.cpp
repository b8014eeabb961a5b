// `switchyard verify-layout`.
#include "cli/engine/verbs.h"
#include "switchyard/config/load.h"
#include "switchyard/core/exit_code.h"
#include "switchyard/core/terminal.h"
#include "switchyard/verify/layouts.h"

namespace switchyard::cli {

int run_verify_layout(const config::ParsedArguments& arguments) {
  const config::Resolved resolved =
      config::load(arguments.text("CONFIG.yaml"), arguments.overrides());
  const verify::VerifyReport report = verify::verify_layouts(
      resolved.config, {.layouts = verify::parse_layouts(arguments.text("--layouts")),
                        .steps = arguments.integer("--steps")});
  write_stdout(verify::report_page(report));
  return report.passed() ? kExitDone : kExitFailedCheck;
}

}  // namespace switchyard::cli
