// `switchyard compare`: of runs, or of two outputs of `finetune`.
#include "switchyard/compare/compare.h"
#include "switchyard/compare/markdown.h"
#include "switchyard/compare/svg.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "cli/engine/verbs.h"
#include "switchyard/config/finetune_folder.h"
#include "switchyard/core/exit_code.h"
#include "switchyard/core/log.h"
#include "switchyard/core/output.h"
#include "switchyard/core/terminal.h"
#include "switchyard/glue/compare_grids.h"

namespace switchyard::cli {
namespace {

// Folders of one name in different places are told apart by their paths.
template <typename Named>
void name_apart(std::vector<Named>& runs, const std::vector<std::string>& paths) {
  std::map<std::string, int> uses;
  for (const Named& run : runs) ++uses[run.name];
  for (std::size_t i = 0; i < runs.size(); ++i) {
    if (uses[runs[i].name] > 1) runs[i].name = paths[i];
  }
}

void write_named(const char* what, const std::string& destination, const std::string& text) {
  if (write_output(destination, text) == Written::kFile) log::info("{}: {}", what, destination);
}

void tell(const config::ParsedArguments& arguments, const std::string& text) {
  if (arguments.has("--output")) {
    write_named("comparison", arguments.text("--output"), text);
  } else {
    write_stdout(text);
  }
}

void compare_finetuned(const config::ParsedArguments& arguments,
                       const std::vector<std::string>& paths) {
  std::vector<glue::ComparedGrid> grids;
  for (const std::string& path : paths) grids.push_back(glue::read_compared_grid(path));
  name_apart(grids, paths);
  const glue::GridComparison comparison = glue::compare_grids(grids.at(0), grids.at(1));
  tell(arguments,
       arguments.has("--json") ? glue::grids_json(comparison) : glue::grids_markdown(comparison));
}

}  // namespace

int run_compare(const config::ParsedArguments& arguments) {
  const std::vector<std::string> paths = arguments.texts("RUN");
  // All of them, or none (config::check_compare).
  if (std::all_of(paths.begin(), paths.end(), &config::holds_finetune)) {
    compare_finetuned(arguments, paths);
    return kExitDone;
  }
  std::vector<compare::ComparedRun> runs;
  for (const std::string& path : paths) runs.push_back(compare::read_compared_run(path));
  name_apart(runs, paths);
  if (arguments.has("--svg")) {
    write_named("curves", arguments.text("--svg"), compare::comparison_svg(runs));
  }
  tell(arguments, compare::comparison_markdown(runs));
  return kExitDone;
}

}  // namespace switchyard::cli
