#include "config/verbs_inspect.h"

namespace switchyard::config {
namespace {

void check_compare(const ParsedArguments& arguments, std::vector<std::string>& problems) {
  if (arguments.texts("RUN").size() < 2) problems.emplace_back("RUN: expected at least two");
}

}  // namespace

VerbSpec compare_verb() {
  return {.name = "compare",
          .summary = "what distinguishes runs, and which is ahead at equal tokens and FLOPs",
          .positionals = {{.name = "RUN",
                           .kind = ValueKind::kRun,
                           .required = true,
                           .repeatable = true,
                           .help = "folders of two or more runs, finished or not"}},
          .flags = {{.name = "--output",
                     .metavar = "FILE.md",
                     .help = "write the Markdown there instead of to standard output"},
                    {.name = "--svg", .metavar = "FILE.svg", .help = "draw the curves there"}},
          .example = "switchyard compare runs/top_k runs/top_p --svg curves.svg",
          .check = &check_compare};
}

VerbSpec doctor_verb() {
  return {.name = "doctor",
          .summary = "is this machine fit to train on, and which precision suits it",
          .flags = {{.name = "--json",
                     .kind = ValueKind::kSwitch,
                     .help = "print one JSON object instead of lines"}},
          .example = "switchyard doctor"};
}

}  // namespace switchyard::config
