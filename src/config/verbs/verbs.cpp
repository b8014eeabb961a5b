// The table of verbs, and the help that is made from it.
#include <fmt/format.h>

#include <algorithm>

#include "config/fields/fields.h"
#include "config/verbs/verbs_finetune.h"
#include "config/verbs/verbs_inspect.h"
#include "config/yaml/value.h"
#include "switchyard/config/folders.h"
#include "switchyard/config/load.h"
#include "switchyard/config/options.h"
#include "switchyard/core/error.h"
#include "switchyard/core/text.h"

namespace switchyard::config {
namespace {

void check_prepare(const ParsedArguments& arguments, std::vector<std::string>& problems) {
  const std::string output = arguments.text("--output");
  if (holds_prepared_data(output) && !arguments.has("--overwrite")) {
    problems.push_back(
        fmt::format("--output: '{}' already holds a prepared data set; --overwrite replaces it",
                    printable(output)));
  }
  const auto inputs = arguments.texts("--input");
  if (std::count(inputs.begin(), inputs.end(), "-") > 1) {
    problems.emplace_back("--input: standard input (-) can be read only once");
  }
}

VerbSpec prepare_verb() {
  return {
      .name = "prepare",
      .summary = "turn text into token files, training a tokenizer when asked",
      .flags =
          {
              {.name = "--input",
               .kind = ValueKind::kInput,
               .metavar = "FILE|DIR|-",
               .required = true,
               .repeatable = true,
               .help = "text or JSONL files, also .gz or .zst, folders of them, or - for standard "
                       "input"},
              {.name = "--tokenizer",
               .kind = ValueKind::kTokenizer,
               .metavar = "bytes|bpe:N|unigram:N|FILE.model",
               .required = true,
               .help = "bytes as they are, N pieces trained on the input, or a trained model"},
              {.name = "--output",
               .kind = ValueKind::kFolder,
               .metavar = "DIR",
               .required = true,
               .help = "folder for the token files"},
              {.name = "--validation",
               .kind = ValueKind::kNumber,
               .metavar = "SHARE",
               .default_text = "0.05",
               .range = {.minimum = 0, .maximum = 1, .maximum_open = true},
               .help = "share of the text that is held back to evaluate on"},
              {.name = "--split",
               .kind = ValueKind::kChoice,
               .metavar = "auto|document|tail",
               .default_text = "auto",
               .choices = {"auto", "document", "tail"},
               .help =
                   "hold back whole documents, or the end of each; auto: by document from 100 on"},
              {.name = "--validation-input",
               .kind = ValueKind::kInput,
               .metavar = "FILE|DIR",
               .repeatable = true,
               .help = "text that is held back as it is; --validation is then 0 unless given"},
              {.name = "--format",
               .kind = ValueKind::kChoice,
               .metavar = "auto|text|jsonl",
               .default_text = "auto",
               .choices = {"auto", "text", "jsonl"},
               .help = "what the inputs hold; auto: jsonl when the name ends in .jsonl or .ndjson"},
              {.name = "--text-field",
               .kind = ValueKind::kText,
               .metavar = "NAME",
               .default_text = "text",
               .help = "member of a JSONL object that holds the text"},
              {.name = "--skip-bad-records",
               .kind = ValueKind::kSwitch,
               .help = "leave out JSONL lines that hold no such text, with a count"},
              {.name = "--document-separator",
               .kind = ValueKind::kText,
               .metavar = "TEXT",
               .help =
                   "cuts a text file into documents, e.g. <|endoftext|>; without it a file is one"},
              {.name = "--samples",
               .kind = ValueKind::kInteger,
               .metavar = "N",
               .default_text = "3",
               .range = between(0, 1000),
               .help = "show the pieces of N short stretches of the text"},
              {.name = "--overwrite",
               .kind = ValueKind::kSwitch,
               .help = "replace a data set that is already in the output folder"},
          },
      .example = "switchyard prepare --input book.txt --tokenizer bpe:4096 --output data/book",
      .check = &check_prepare,
  };
}

VerbSpec pretrain_verb() {
  return {.name = "pretrain",
          .summary = "train a model from scratch, or on from another run's weights",
          .positionals = {config_file_argument()},
          .flags = {{.name = "--or-resume",
                     .kind = ValueKind::kSwitch,
                     .help = "go on with the run in run.dir when there is one: one command for a "
                             "job that is started again"},
                    {.name = "--from",
                     .kind = ValueKind::kRunOrCheckpoint,
                     .metavar = "RUN|CHECKPOINT",
                     .help = "begin with its weights (run.from); optimizer and schedule are new"}},
          .takes_overrides = true,
          .example =
              "switchyard pretrain configs/quickstart.yaml data.path=data/book "
              "run.dir=runs/book"};
}

VerbSpec resume_verb() {
  return {
      .name = "resume",
      .summary = "go on with a run that was stopped, from its newest sound checkpoint",
      .positionals =
          {{.name = "RUN", .kind = ValueKind::kRun, .required = true, .help = "folder of the run"}},
      .flags =
          {
              {.name = "--allow-change",
               .kind = ValueKind::kKey,
               .metavar = "KEY,...",
               .repeatable = true,
               .help = "let these keys, or groups of keys, differ from what the run began with"},
              {.name = "--allow-router-change",
               .kind = ValueKind::kSwitch,
               .help = "let model.moe.router differ; what its state no longer means starts afresh"},
              {.name = "--from",
               .kind = ValueKind::kStep,
               .metavar = "STEP|best|latest",
               .help = "go on from this checkpoint, sound or not; later ones are set aside"},
          },
      .takes_overrides = true,
      .example = "switchyard resume runs/book train.steps=4000",
  };
}

VerbSpec launch_verb() {
  return {
      .name = std::string(kLaunch),
      .summary = "start pretrain, resume, finetune or doctor as several ranks on this machine",
      .flags = {{.name = "--nproc",
                 .kind = ValueKind::kInteger,
                 .metavar = "N",
                 .range = between(1, 1024),
                 .required = true,
                 .help = "ranks; they share the cores"},
                {.name = "--restarts",
                 .kind = ValueKind::kInteger,
                 .metavar = "M",
                 .default_text = "0",
                 .range = between(0, 1'000'000),
                 .help =
                     "start them again when one died, at most M times without a new checkpoint"}},
      .example =
          "switchyard launch --nproc 4 -- pretrain configs/quickstart.yaml data.path=data/book "
          "run.dir=runs/book parallel.expert=4 train.micro_batch_size=1",
  };
}

std::vector<VerbSpec> build_verbs() {
  return {
      prepare_verb(),
      pretrain_verb(),
      resume_verb(),
      launch_verb(),
      evaluate_verb(),
      generate_verb(),
      finetune_verb(),
      predict_verb(),
      report_verb(),
      compare_verb(),
      plan_verb(),
      doctor_verb(),
      verify_layout_verb(),
      {.name = "config show",
       .summary = "print a configuration with every default and where each value comes from",
       .positionals = {config_file_argument()},
       .takes_overrides = true,
       .example = "switchyard config show configs/quickstart.yaml model.moe.router.type=top_k"},
      {.name = "config check",
       .summary = "check a configuration without running it",
       .positionals = {config_file_argument()},
       .takes_overrides = true,
       .example = "switchyard config check configs/quickstart.yaml"},
      {.name = "config reference",
       .summary = "every configuration key with type, default, range and meaning",
       .flags = {{.name = "--markdown",
                  .kind = ValueKind::kSwitch,
                  .help = "as the page docs/config.md"}},
       .example = "switchyard config reference"},
  };
}

const std::vector<VerbSpec>& verbs() {
  static const std::vector<VerbSpec> table = build_verbs();
  return table;
}

std::string usage_of(const VerbSpec& verb) {
  std::string text = fmt::format("switchyard {}", verb.name);
  for (const OptionSpec& positional : verb.positionals) {
    const std::string part = positional.name + (positional.repeatable ? " ..." : "");
    text += positional.required ? " " + part : " [" + part + "]";
  }
  for (const OptionSpec& flag : verb.flags) {
    std::string part = flag.metavar.empty() ? flag.name : flag.name + " " + flag.metavar;
    if (flag.repeatable) part += " ...";
    text += flag.required ? " " + part : " [" + part + "]";
  }
  if (verb.takes_overrides) text += " [key.sub=value ...]";
  if (verb.name == kLaunch) text += " -- pretrain|resume ...";
  return text;
}

std::string line_of(const OptionSpec& option) {
  std::string facts;
  if (!option.default_text.empty()) facts = fmt::format(" (default {})", option.default_text);
  const std::string left =
      option.metavar.empty() ? option.name : fmt::format("{} {}", option.name, option.metavar);
  constexpr std::size_t kLeftWidth = 24;
  const std::string gap = left.size() <= kLeftWidth ? std::string(kLeftWidth - left.size(), ' ')
                                                    : "\n" + std::string(kLeftWidth + 2, ' ');
  return fmt::format("  {}{}  {}{}\n", left, gap, option.help, facts);
}

std::vector<std::string> verb_names(bool first_words) {
  std::vector<std::string> names;
  for (const VerbSpec& verb : verbs()) {
    std::string name = first_words ? verb.name.substr(0, verb.name.find(' ')) : verb.name;
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  }
  return names;
}

// Also finds "pretrain" for "train", which is too far in letters.
std::string verb_suggestion(const std::string& given, const std::vector<std::string>& names) {
  std::string near = suggestion(given, names);
  if (!near.empty() || given.size() < 3) return near;
  const auto longer = std::find_if(names.begin(), names.end(), [&given](const std::string& name) {
    return name.find(given) != std::string::npos;
  });
  return longer == names.end() ? std::string() : fmt::format(" (did you mean '{}'?)", *longer);
}

}  // namespace

bool trains(const VerbSpec& verb) {
  return verb.name == "pretrain" || verb.name == "resume" || verb.name == kFinetune;
}

bool runs_on_ranks(const VerbSpec& verb) {
  return trains(verb) || verb.name == "doctor";
}

std::span<const VerbSpec> all_verbs() {
  return verbs();
}

const VerbSpec* find_verb(std::string_view name) {
  const auto found = std::find_if(verbs().begin(), verbs().end(),
                                  [name](const VerbSpec& verb) { return verb.name == name; });
  return found == verbs().end() ? nullptr : &*found;
}

Command find_command(std::span<const std::string> command_line) {
  Command command;
  while (!command_line.empty() && command_line[0] == "--debug") {
    command.arguments.push_back("--debug");
    command_line = command_line.subspan(1);
  }
  if (command_line.empty()) {
    throw UsageError("a verb is missing", "`switchyard --help` lists the verbs");
  }
  std::size_t words = 1;
  command.verb = find_verb(command_line[0]);
  if (command.verb == nullptr && command_line.size() > 1) {
    words = 2;
    command.verb = find_verb(command_line[0] + " " + command_line[1]);
  }
  if (command.verb == nullptr) {
    const std::string& first = command_line[0];
    const auto known = verb_names(true);
    const bool is_group = std::find(known.begin(), known.end(), first) != known.end();
    const std::string given =
        is_group && command_line.size() > 1 ? first + " " + command_line[1] : first;
    throw UsageError(fmt::format("unknown verb '{}'{}", printable(given),
                                 verb_suggestion(given, verb_names(!is_group))),
                     is_group ? fmt::format("`switchyard {} --help` lists them", first)
                              : "`switchyard --help` lists the verbs");
  }
  for (const std::string& argument : command_line.subspan(words)) {
    command.arguments.push_back(argument);
  }
  return command;
}

std::string help_of(const VerbSpec& verb) {
  std::string text =
      fmt::format("{}: {}\n\nusage: {}\n\n", verb.name, verb.summary, usage_of(verb));
  for (const OptionSpec& positional : verb.positionals) text += line_of(positional);
  for (const OptionSpec& flag : verb.flags) text += line_of(flag);
  text += line_of({.name = "--debug", .help = "say more about where an error comes from"});
  text += line_of({.name = "--help", .help = "show this help"});
  text += fmt::format("\nexample: {}\n", verb.example);
  if (verb.takes_overrides) {
    text += "\nkeys (`switchyard config reference` says more about each):\n";
    text += reference_summary();
  }
  return text;
}

std::string help_of_all_verbs() {
  std::string text =
      "switchyard: trains mixture-of-experts transformers whose routers choose a different number\n"
      "of experts for every token\n\n";
  for (const VerbSpec& verb : verbs())
    text += fmt::format("  {:<17} {}\n", verb.name, verb.summary);
  text +=
      "\n`switchyard VERB --help` shows a verb's flags, `switchyard --version` the version.\n"
      "Exit codes: 0 done, 2 usage or config, 65 bad data or checkpoint, 70 internal error,\n"
      "71 out of memory, 74 storage, 75 stopped by a signal after saving, 76 loss not finite,\n"
      "77 another rank died or hangs, 78 a check failed.\n";
  return text;
}

}  // namespace switchyard::config
