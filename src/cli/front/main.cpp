// `switchyard`: answers help, configuration and every usage error without loading LibTorch, then
// becomes switchyard-engine.
#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "cli/front/engine.h"
#include "cli/front/launch.h"
#include "switchyard/config/begin.h"
#include "switchyard/config/checkpoint_names.h"
#include "switchyard/config/folders.h"
#include "switchyard/config/ignored.h"
#include "switchyard/config/load.h"
#include "switchyard/config/options.h"
#include "switchyard/config/ranks.h"
#include "switchyard/config/resume.h"
#include "switchyard/core/error.h"
#include "switchyard/core/exit_code.h"
#include "switchyard/core/log.h"
#include "switchyard/core/process.h"
#include "switchyard/core/ranks.h"
#include "switchyard/core/terminal.h"
#include "switchyard/core/text.h"
#include "switchyard/core/version.h"

namespace {

using switchyard::write_stdout;
using switchyard::config::ParsedArguments;

switchyard::config::Resolved load_config(const ParsedArguments& arguments) {
  return switchyard::config::load(arguments.text("CONFIG.yaml"), arguments.overrides());
}

// Of `pretrain` and `resume`: can it start? `leads`: also where the run's folder is; other ranks
// may find it begun.
switchyard::config::Config config_of_run(const ParsedArguments& arguments, std::int64_t num_ranks,
                                         bool looks_at_folder) {
  namespace config = switchyard::config;
  config::Config run;
  if (arguments.verb().name == "resume") {
    run = config::load_for_resume(arguments.text("RUN"), arguments.overrides(),
                                  config::allowed_changes(arguments));
  } else {
    const config::Resolved resolved = config::load_for_pretrain(arguments);
    run = resolved.config;
    if (looks_at_folder && arguments.has("--or-resume") && config::holds_run(run.run.dir)) {
      run = config::checked_for_resume(resolved);
    } else if (looks_at_folder) {
      config::check_folders_of_run(resolved);
    }
  }
  config::check_ranks(run, num_ranks);
  return run;
}

// Of `finetune`: what launching it needs to know. The rest is the ranks' to check: what makes a
// file and a checkpoint a whole configuration is decided there.
switchyard::config::Config config_of_finetune(const ParsedArguments& arguments) {
  namespace config = switchyard::config;
  std::vector<std::filesystem::path> files;  // the lowest first
  if (const std::string from = arguments.text("--from"); from != "none") {
    files.push_back(config::parse_named_run(from).run / config::kResolvedConfigName);
  }
  if (const std::string file = arguments.text("CONFIG.yaml"); !file.empty())
    files.emplace_back(file);
  config::Config run;
  run.run.dir = arguments.text("--output");
  run.train.device =
      config::value_set("train.device", files, arguments.overrides()).value_or(run.train.device);
  return run;
}

// What is started again goes on with what there is by then, and goes back to no step a second time.
std::vector<std::string> again(std::vector<std::string> command, const std::string& verb) {
  const auto has = [&command](const char* flag) {
    return std::find(command.begin(), command.end(), flag);
  };
  if (verb == "pretrain" && has("--or-resume") == command.end()) {
    command.insert(std::find(command.begin(), command.end(), verb) + 1, "--or-resume");
  }
  if (verb != "resume") return command;
  if (const auto from = has("--from"); from != command.end()) command.erase(from, from + 2);
  std::erase_if(command, [](const std::string& each) { return each.starts_with("--from="); });
  return command;
}

// It has no run that could be gone on with.
int launch_doctor(const ParsedArguments& arguments, std::int64_t num_ranks,
                  const std::vector<std::string>& command) {
  if (!arguments.has("--links")) {
    throw switchyard::UsageError(
        "launch: doctor is about one machine, and its ranks would all say the same",
        "add --links to measure between them");
  }
  switchyard::cli::Launch what{.num_ranks = num_ranks,
                               .command = {switchyard::cli::this_program()},
                               .on_gpus = arguments.text("--device") == "cuda"};
  what.command.insert(what.command.end(), command.begin(), command.end());
  return switchyard::cli::launch(what);
}

// What comes behind the first `--`.
int run_launch(std::span<const std::string> command_line) {
  namespace config = switchyard::config;
  const auto end = std::find(command_line.begin(), command_line.end(), "--");
  const config::Command own =
      config::find_command(std::vector<std::string>(command_line.begin(), end));
  const ParsedArguments arguments = config::parse_arguments(*own.verb, own.arguments);
  if (arguments.wants_help()) {
    write_stdout(config::help_of(*own.verb));
    return switchyard::kExitDone;
  }
  const std::vector<std::string> command(end == command_line.end() ? end : end + 1,
                                         command_line.end());
  const char* const hint = "for example: switchyard launch --nproc 4 -- pretrain CONFIG.yaml";
  if (command.empty()) throw switchyard::UsageError("launch: the command is missing", hint);
  const config::Command verb = config::find_command(command);
  if (!config::runs_on_ranks(*verb.verb)) {
    throw switchyard::UsageError(
        fmt::format("launch: '{}' is no work of several ranks", verb.verb->name), hint);
  }
  const ParsedArguments of_rank = config::parse_arguments(*verb.verb, verb.arguments);
  if (of_rank.wants_help()) {
    write_stdout(config::help_of(*verb.verb));
    return switchyard::kExitDone;
  }
  const std::int64_t num_ranks = arguments.integer("--nproc");
  if (!config::trains(*verb.verb)) return launch_doctor(of_rank, num_ranks, command);
  const config::Config run = verb.verb->name == config::kFinetune
                                 ? config_of_finetune(of_rank)
                                 : config_of_run(of_rank, num_ranks, true);
  switchyard::cli::Launch what{.num_ranks = num_ranks,
                               .num_restarts = arguments.integer("--restarts"),
                               .command = {switchyard::cli::this_program()},
                               .run = run.run.dir,
                               .on_gpus = run.train.device == "cuda"};
  what.command.insert(what.command.end(), command.begin(), command.end());
  what.command_again = again(what.command, verb.verb->name);
  what.goes_back = verb.verb->name == "resume" && of_rank.has("--from");
  return switchyard::cli::launch(what);
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
    const config::Config checked = load_config(arguments).config;
    for (const std::string& line : config::ignored_settings(checked)) {
      switchyard::log::warning("{}", line);
    }
    write_stdout(switchyard::printable_line(arguments.text("CONFIG.yaml")) + ": ok\n");
  } else if (verb == "config reference") {
    write_stdout(arguments.has("--markdown") ? config::reference_markdown()
                                             : config::reference_text());
  } else {
    if (verb == "plan") (void)load_config(arguments);
    if (config::trains(arguments.verb()) && verb != config::kFinetune) {
      const switchyard::RankEnvironment ranks = switchyard::read_rank_environment();
      // Of several ranks the engine looks at the folder, once they can tell each other.
      (void)config_of_run(arguments, ranks.num_ranks, ranks.num_ranks == 1);
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
  const auto first = std::find_if(command_line.begin(), command_line.end(),
                                  [](const std::string& each) { return each != "--debug"; });
  if (first != command_line.end() && *first == switchyard::config::kLaunch) {
    return run_launch(command_line);
  }
  const switchyard::config::Command command = switchyard::config::find_command(command_line);
  if (switchyard::config::runs_on_ranks(*command.verb)) {
    switchyard::log::speak_as_rank(switchyard::read_rank_environment().rank);
  }
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
