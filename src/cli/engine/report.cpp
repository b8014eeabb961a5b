// `switchyard report`.
#include "switchyard/train/report.h"

#include <cstdio>
#include <filesystem>
#include <string>

#include "cli/engine/verbs.h"
#include "switchyard/core/error.h"
#include "switchyard/core/exit_code.h"

namespace switchyard::cli {

int run_report(const config::ParsedArguments& arguments) {
  const std::filesystem::path run = arguments.text("RUN");
  const std::filesystem::path page = arguments.has("--output")
                                         ? std::filesystem::path(arguments.text("--output"))
                                         : run / train::kReportName;
  train::write_report(run, page);
  if (std::puts(page.c_str()) < 0 || std::fflush(stdout) != 0) {
    throw StorageError("cannot write to standard output");
  }
  return kExitDone;
}

}  // namespace switchyard::cli
