// `switchyard`: answers help, configuration and every usage error without loading LibTorch, then
// becomes switchyard-engine.
#include <algorithm>
#include <exception>
#include <span>
#include <string>
#include <vector>

#include "cli/front/engine.h"
#include "switchyard/config/folders.h"
#include "switchyard/config/load.h"
#include "switchyard/config/options.h"
#include "switchyard/config/resume.h"
#include "switchyard/core/error.h"
#include "switchyard/core/exit_code.h"
#include "switchyard/core/process.h"
#include "switchyard/core/terminal.h"
#include "switchyard/core/text.h"
#include "switchyard/core/version.h"

namespace {

using switchyard::write_stdout;
using switchyard::config::ParsedArguments;

switchyard::config::Resolved load_config(const ParsedArguments& arguments) {
  return switchyard::config::load(arguments.text("CONFIG.yaml"), arguments.overrides());
}

// Runs what the front does by itself. False: the engine's part comes next.
bool answer(const ParsedArguments& arguments) {
  namespace config = switchyard::config;
  const std::string& verb = arguments.verb().name;
  if (arguments.wants_help()) {
    write_stdout(config::help_of(arguments.verb()));
  } else if (verb == "config show") {
    write_stdout(config::show(load_config(arguments)));
  } else if (verb == "config check") {
    (void)load_config(arguments);
    write_stdout(switchyard::printable_line(arguments.text("CONFIG.yaml")) + ": ok\n");
  } else if (verb == "config reference") {
    write_stdout(arguments.has("--markdown") ? config::reference_markdown()
                                             : config::reference_text());
  } else {
    if (verb == "pretrain") config::check_folders_of_run(load_config(arguments));
    if (verb == "plan") (void)load_config(arguments);
    if (verb == "resume") {
      (void)config::load_for_resume(arguments.text("RUN"), arguments.overrides(),
                                    config::allowed_changes(arguments));
    }
    return false;
  }
  return true;
}

int run(std::span<const std::string> command_line, char* const* argv) {
  if (!command_line.empty()) {
    const std::string& first = command_line[0];
    const bool config_help =
        first == "config" && (command_line.size() == 1 || command_line[1].starts_with("-"));
    if (first == "--version") {
      write_stdout(std::string("switchyard ") + switchyard::kVersion + "\n");
      return switchyard::kExitDone;
    }
    if (first == "--help" || first == "-h" || first == "help" || config_help) {
      write_stdout(switchyard::config::help_of_all_verbs());
      return config_help && command_line.size() == 1 ? switchyard::kExitUsage
                                                     : switchyard::kExitDone;
    }
  }
  const switchyard::config::Command command = switchyard::config::find_command(command_line);
  if (answer(switchyard::config::parse_arguments(*command.verb, command.arguments))) {
    return switchyard::kExitDone;
  }
  switchyard::cli::exec_engine(argv);
}

}  // namespace

int main(int argc, char** argv) {
  switchyard::set_up_process();
  const std::vector<std::string> command_line(argv + std::min(argc, 1), argv + argc);
  const bool debug =
      std::find(command_line.begin(), command_line.end(), "--debug") != command_line.end();
  try {
    return run(command_line, argv);
  } catch (const std::exception& error) {
    return switchyard::report_error(error, debug);
  }
}
