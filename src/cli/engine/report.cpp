// `switchyard report`.
#include "switchyard/telemetry/report.h"

#include <filesystem>
#include <string>

#include "cli/engine/verbs.h"
#include "switchyard/core/exit_code.h"
#include "switchyard/core/terminal.h"
#include "switchyard/core/text.h"

namespace switchyard::cli {

int run_report(const config::ParsedArguments& arguments) {
  const std::filesystem::path run = arguments.text("RUN");
  const std::string page = arguments.has("--output") ? arguments.text("--output")
                                                     : (run / telemetry::kReportName).string();
  // A stream may be standard output: nothing may come behind the page.
  if (telemetry::write_report(run, page) == Written::kFile) {
    write_stdout((stdout_is_terminal() ? printable_line(page) : page) + "\n");
  }
  return kExitDone;
}

}  // namespace switchyard::cli
