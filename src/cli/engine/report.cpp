// `switchyard report`.
#include "switchyard/telemetry/report.h"

#include <filesystem>
#include <string>

#include "cli/engine/verbs.h"
#include "switchyard/core/exit_code.h"
#include "switchyard/core/terminal.h"

namespace switchyard::cli {

int run_report(const config::ParsedArguments& arguments) {
  const std::filesystem::path run = arguments.text("RUN");
  const std::filesystem::path page = arguments.has("--output")
                                         ? std::filesystem::path(arguments.text("--output"))
                                         : run / telemetry::kReportName;
  telemetry::write_report(run, page);
  write_stdout(page.string() + "\n");
  return kExitDone;
}

}  // namespace switchyard::cli
