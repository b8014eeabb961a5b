#include "config/verbs/verbs_finetune.h"

#include <fmt/format.h>

#include "config/option_value.h"

namespace switchyard::config {
namespace {

constexpr const char* kNone = "none";
constexpr std::int64_t kMostSeeds = 100;

void check_finetune(const ParsedArguments& arguments, std::vector<std::string>& problems) {
  const bool from_scratch = arguments.text("--from") == kNone;
  if (!from_scratch) {
    const OptionSpec run{.name = "--from", .kind = ValueKind::kRunOrCheckpoint};
    if (const auto problem = problem_of_value(run, arguments.text("--from"))) {
      problems.push_back(fmt::format("--from: {}; `none` trains from scratch", *problem));
    }
  }
  for (const char* name : {"CONFIG.yaml", "--tokenizer"}) {
    if (from_scratch && !arguments.has(name)) {
      problems.push_back(fmt::format("{}: required with --from none", name));
    }
  }
  if (!from_scratch && arguments.has("--tokenizer")) {
    problems.emplace_back("--tokenizer: only with --from none; a checkpoint has its own");
  }
  const std::string tokenizer = arguments.text("--tokenizer");
  if (tokenizer.starts_with("bpe:") || tokenizer.starts_with("unigram:")) {
    problems.emplace_back(
        "--tokenizer: nothing to train one on here; expected bytes or a FILE.model");
  }
}

}  // namespace

VerbSpec finetune_verb() {
  return {
      .name = "finetune",
      .summary = "train a pretrained model for GLUE tasks, or one of your own, and tell its worth",
      .positionals = {{.name = "CONFIG.yaml",
                       .kind = ValueKind::kFile,
                       .help = "settings, such as configs/glue/small-tasks.yaml; with --from none "
                               "the model as well"}},
      .flags =
          {
              {.name = "--task",
               .metavar = "TASK,...|all|custom",
               .required = true,
               .help =
                   "cola, sst2, mrpc, stsb, qqp, mnli, qnli, rte, wnli, several of them, all, or "
                   "custom: files of your own"},
              {.name = "--data",
               .kind = ValueKind::kFolder,
               .metavar = "DIR",
               .required = true,
               .help = "folder of GLUE, with CoLA/train.tsv, SST-2/train.tsv and so on; for custom "
                       "one with train and dev, each .tsv or .jsonl"},
              {.name = "--from",
               .metavar = "RUN|CHECKPOINT|none",
               .required = true,
               .help = "a pretrained model, or none to train from scratch"},
              {.name = "--output",
               .kind = ValueKind::kFolder,
               .metavar = "DIR",
               .required = true,
               .help = "folder for runs and results; the same command again goes on there"},
              {.name = "--seeds",
               .kind = ValueKind::kInteger,
               .metavar = "N",
               .default_text = "1",
               .range = {.minimum = 1, .maximum = kMostSeeds},
               .help = "train every task N times, from run.seed on"},
              {.name = "--baseline",
               .kind = ValueKind::kFolder,
               .metavar = "RUN|DIR",
               .help =
                   "compare with a pretrained run, fine-tuned in the same way under --output, or "
                   "with the --output of an earlier finetune, judged on the same dev rows"},
              {.name = "--submission",
               .kind = ValueKind::kSwitch,
               .help = "write the files that the GLUE site takes"},
              {.name = "--tokenizer",
               .kind = ValueKind::kTokenizer,
               .metavar = "bytes|FILE.model",
               .help = "with --from none"},
          },
      .takes_overrides = true,
      .example =
          "switchyard finetune --task mrpc,qnli --data glue --from runs/encoder --output "
          "runs/glue --seeds 3",
      .check = &check_finetune,
  };
}

VerbSpec predict_verb() {
  return {
      .name = "predict",
      .summary = "label new text with a fine-tuned model",
      .positionals = {{.name = "RUN",
                       .kind = ValueKind::kRun,
                       .required = true,
                       .help = "folder of one task and seed, such as runs/glue/mrpc/seed-1"}},
      .flags = {{.name = "--input",
                 .kind = ValueKind::kFileOrStdin,
                 .metavar = "FILE.tsv|-",
                 .required = true,
                 .help = "tab-separated values whose header names the task's columns of text"},
                {.name = "--output",
                 .kind = ValueKind::kOutput,
                 .metavar = "FILE.tsv|-",
                 .help = "write the labels there instead of to standard output"},
                {.name = "--device",
                 .kind = ValueKind::kChoice,
                 .metavar = "cpu|cuda",
                 .choices = {"cpu", "cuda"},
                 .help = "where to compute, instead of where it was trained"}},
      .example = "switchyard predict runs/glue/sst2/seed-1 --input reviews.tsv",
  };
}

}  // namespace switchyard::config
