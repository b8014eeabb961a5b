// `switchyard compare`.
#include "switchyard/compare/compare.h"
#include "switchyard/compare/markdown.h"
#include "switchyard/compare/svg.h"

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "cli/engine/verbs.h"
#include "switchyard/core/exit_code.h"
#include "switchyard/core/log.h"
#include "switchyard/core/output.h"
#include "switchyard/core/terminal.h"

namespace switchyard::cli {
namespace {

// Folders of one name in different places are told apart by their paths.
void name_apart(std::vector<compare::ComparedRun>& runs, const std::vector<std::string>& paths) {
  std::map<std::string, int> uses;
  for (const compare::ComparedRun& run : runs) ++uses[run.name];
  for (std::size_t i = 0; i < runs.size(); ++i) {
    if (uses[runs[i].name] > 1) runs[i].name = paths[i];
  }
}

void write_named(const char* what, const std::string& destination, const std::string& text) {
  if (write_output(destination, text) == Written::kFile) log::info("{}: {}", what, destination);
}

}  // namespace

int run_compare(const config::ParsedArguments& arguments) {
  const std::vector<std::string> paths = arguments.texts("RUN");
  std::vector<compare::ComparedRun> runs;
  for (const std::string& path : paths) runs.push_back(compare::read_compared_run(path));
  name_apart(runs, paths);
  if (arguments.has("--svg")) {
    write_named("curves", arguments.text("--svg"), compare::comparison_svg(runs));
  }
  const std::string markdown = compare::comparison_markdown(runs);
  if (arguments.has("--output")) {
    write_named("comparison", arguments.text("--output"), markdown);
  } else {
    write_stdout(markdown);
  }
  return kExitDone;
}

}  // namespace switchyard::cli
