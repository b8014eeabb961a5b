// `switchyard-engine`: every verb that needs LibTorch. `switchyard` starts it once the command line
// is known to be right; it checks again, so that it can be started by itself.
#include <algorithm>
#include <exception>
#include <string>
#include <vector>

#include "cli/engine/prepare.h"
#include "cli/engine/report_error.h"
#include "cli/engine/verbs.h"
#include "switchyard/config/options.h"
#include "switchyard/core/error.h"
#include "switchyard/core/exit_code.h"
#include "switchyard/core/log.h"
#include "switchyard/core/process.h"
#include "switchyard/core/ranks.h"
#include "switchyard/ops/backend.h"
#include "switchyard/ops/thread_waiting.h"

namespace {

using switchyard::config::ParsedArguments;

int run(const std::vector<std::string>& command_line) {
  const switchyard::config::Command command = switchyard::config::find_command(command_line);
  const ParsedArguments arguments =
      switchyard::config::parse_arguments(*command.verb, command.arguments);
  switchyard::RankEnvironment ranks;
  if (switchyard::config::runs_on_ranks(*command.verb)) ranks = switchyard::read_rank_environment();
  switchyard::log::speak_as_rank(ranks.rank);
  switchyard::ops::set_up_threads(ranks.num_local_ranks);
  const switchyard::ops::ThreadWaiting waiting;
  const std::string& verb = command.verb->name;
  if (verb == "prepare") return switchyard::cli::run_prepare(arguments);
  if (verb == "pretrain") return switchyard::cli::run_pretrain(arguments);
  if (verb == "resume") return switchyard::cli::run_resume(arguments);
  if (verb == "evaluate") return switchyard::cli::run_evaluate(arguments);
  if (verb == "generate") return switchyard::cli::run_generate(arguments);
  if (verb == "finetune") return switchyard::cli::run_finetune(arguments);
  if (verb == "predict") return switchyard::cli::run_predict(arguments);
  if (verb == "report") return switchyard::cli::run_report(arguments);
  if (verb == "compare") return switchyard::cli::run_compare(arguments);
  if (verb == "plan") return switchyard::cli::run_plan(arguments);
  if (verb == "doctor") return switchyard::cli::run_doctor(arguments);
  if (verb == "verify-layout") return switchyard::cli::run_verify_layout(arguments);
  throw switchyard::UsageError("switchyard-engine does not know the verb '" + verb + "'",
                               "run `switchyard " + verb + "`");
}

}  // namespace

int main(int argc, char** argv) {
  switchyard::set_up_process();
  const std::vector<std::string> command_line(argv + std::min(argc, 1), argv + argc);
  const bool debug =
      std::find(command_line.begin(), command_line.end(), "--debug") != command_line.end();
  try {
    return run(command_line);
  } catch (const std::exception& error) {
    return switchyard::cli::report_any_error(error, debug);
  } catch (...) {
    return switchyard::report_error(switchyard::InternalError("an exception of unknown type"),
                                    debug);
  }
}
