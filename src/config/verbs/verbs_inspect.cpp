#include "config/verbs/verbs_inspect.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "config/fields/fields.h"
#include "switchyard/config/finetune_folder.h"
#include "switchyard/core/output.h"

namespace switchyard::config {
namespace {

void check_compare(const ParsedArguments& arguments, std::vector<std::string>& problems) {
  const std::vector<std::string> folders = arguments.texts("RUN");
  if (folders.size() < 2) {
    problems.emplace_back("RUN: expected at least two");
    return;
  }
  const auto num_finetuned = std::count_if(folders.begin(), folders.end(), &holds_finetune);
  if (num_finetuned == 0) {
    if (arguments.has("--json")) {
      problems.emplace_back("--json: of outputs of finetune; runs are compared in Markdown");
    }
    if (arguments.has("--svg") && is_standard_output(arguments.text("--svg")) &&
        (!arguments.has("--output") || is_standard_output(arguments.text("--output")))) {
      problems.emplace_back(
          "--svg: the comparison goes to standard output already; name a file for one of them");
    }
    return;
  }
  if (num_finetuned < std::ssize(folders)) {
    problems.emplace_back("RUN: some are runs, others outputs of finetune; expected one kind");
  } else if (folders.size() > 2) {
    problems.push_back(fmt::format(
        "RUN: expected two outputs of finetune, got {}; they are tested in pairs", folders.size()));
  }
  if (arguments.has("--svg")) {
    problems.emplace_back("--svg: of runs; outputs of finetune have no curves");
  }
}

OptionSpec run_or_checkpoint() {
  return {.name = "RUN|CHECKPOINT",
          .kind = ValueKind::kRunOrCheckpoint,
          .required = true,
          .help = "folder of a run (its last checkpoint), RUN@best, RUN@STEP, or of a checkpoint"};
}

OptionSpec device_option() {
  return {.name = "--device",
          .kind = ValueKind::kChoice,
          .metavar = "cpu|cuda",
          .default_text = "cpu",
          .choices = {"cpu", "cuda"},
          .help = "where to compute"};
}

void check_plan(const ParsedArguments& arguments, std::vector<std::string>& problems) {
  if (arguments.has("--tokens-per-second") && arguments.has("--measure")) {
    problems.emplace_back("--measure: not together with --tokens-per-second; keep one");
  }
  const bool has_layout = arguments.has("--layout");
  if (arguments.has("--mfu") && !arguments.has("--measure") && !has_layout) {
    problems.emplace_back("--mfu: a share of what --measure finds; add --measure, or --layout");
  }
  for (const char* flag :
       {"--load", "--ranks-per-node", "--node-bandwidth", "--network-bandwidth", "--rank-tflops"}) {
    if (arguments.has(flag) && !has_layout) {
      problems.push_back(std::string(flag) + ": about the ranks of a layout; add --layout 8x8");
    }
  }
}

}  // namespace

VerbSpec evaluate_verb() {
  return {
      .name = "evaluate",
      .summary = "loss, perplexity, bits per byte and experts per token on a text",
      .positionals = {run_or_checkpoint()},
      .flags =
          {
              {.name = "--text",
               .kind = ValueKind::kFileOrStdin,
               .metavar = "FILE|-",
               .required = true,
               .help = "text to evaluate on, also .gz or .zst; - for standard input"},
              {.name = "--stride",
               .kind = ValueKind::kInteger,
               .metavar = "N",
               .range = between(1, kMaxSize),
               .help = "tokens predicted per window; the rest is context (default: half a window)"},
              {.name = "--precision",
               .kind = ValueKind::kChoice,
               .metavar = "fp32|bf16",
               .choices = {"fp32", "bf16"},
               .help = "compute precision (default: the run's)"},
              device_option(),
              {.name = "--uncalibrated",
               .kind = ValueKind::kSwitch,
               .help = "at temperature 1, whatever train.calibrate has fitted"},
              {.name = "--json",
               .kind = ValueKind::kSwitch,
               .help = "print one JSON object instead of lines"},
          },
      .example = "switchyard evaluate runs/book --text other.txt",
  };
}

VerbSpec generate_verb() {
  return {
      .name = "generate",
      .summary = "continue a text",
      .positionals = {run_or_checkpoint()},
      .flags =
          {
              {.name = "--prompt",
               .kind = ValueKind::kText,
               .metavar = "TEXT",
               .required = true,
               .help = "text to continue"},
              {.name = "--max-tokens",
               .kind = ValueKind::kInteger,
               .metavar = "N",
               .default_text = "100",
               .range = between(1, kMaxSize),
               .help = "most tokens to generate"},
              {.name = "--temperature",
               .kind = ValueKind::kNumber,
               .metavar = "X",
               .default_text = "0.8",
               .range = between(0, 100),
               .help = "0 = always the most probable token; times what train.calibrate has fitted"},
              {.name = "--top-k",
               .kind = ValueKind::kInteger,
               .metavar = "K",
               .default_text = "0",
               .range = between(0, kMaxSize),
               .help = "sample from the K most probable tokens; 0 = from all"},
              {.name = "--nucleus",
               .kind = ValueKind::kNumber,
               .metavar = "P",
               .default_text = "1",
               .range = {.minimum = 0, .maximum = 1, .minimum_open = true},
               .help = "sample from the most probable tokens that sum to P"},
              {.name = "--seed",
               .kind = ValueKind::kInteger,
               .metavar = "S",
               .default_text = "0",
               .range = at_least(0),
               .help = "same seed, same text"},
              device_option(),
              {.name = "--show-experts",
               .kind = ValueKind::kSwitch,
               .help = "print each token with the number of experts it got"},
              {.name = "--no-cache",
               .kind = ValueKind::kSwitch,
               .help = "recompute the whole text for every token (slow; to verify)"},
          },
      .example = "switchyard generate runs/book --prompt \"Once upon a time\" --show-experts",
  };
}

VerbSpec report_verb() {
  return {
      .name = "report",
      .summary = "write one page about a run: curves, experts, samples, configuration",
      .positionals =
          {{.name = "RUN", .kind = ValueKind::kRun, .required = true, .help = "folder of the run"}},
      .flags = {{.name = "--output",
                 .kind = ValueKind::kOutput,
                 .metavar = "FILE|-",
                 .help = "file to write (default: report.html in the run's folder); - for standard "
                         "output"}},
      .example = "switchyard report runs/book",
  };
}

OptionSpec config_file_argument() {
  return {.name = "CONFIG.yaml",
          .kind = ValueKind::kFile,
          .required = true,
          .help = "configuration file"};
}

VerbSpec compare_verb() {
  return {
      .name = "compare",
      .summary = "what distinguishes runs, and which is ahead at equal tokens and FLOPs",
      .positionals = {{.name = "RUN",
                       .kind = ValueKind::kRunOrFinetune,
                       .required = true,
                       .repeatable = true,
                       .help = "folders of two or more runs, finished or not, or two outputs of "
                               "finetune, which are compared seed by seed"}},
      .flags = {{.name = "--output",
                 .kind = ValueKind::kOutput,
                 .metavar = "FILE.md|-",
                 .help = "write it there instead of to standard output"},
                {.name = "--svg",
                 .kind = ValueKind::kOutput,
                 .metavar = "FILE.svg|-",
                 .help = "draw the curves of runs there"},
                {.name = "--json",
                 .kind = ValueKind::kSwitch,
                 .help = "of outputs of finetune: one JSON object instead of Markdown"}},
      .example = "switchyard compare runs/top_k runs/top_p --svg curves.svg",
      .check = &check_compare};
}

VerbSpec plan_verb() {
  return {
      .name = "plan",
      .summary = "what a run will need: parameters, memory, FLOPs, tokens, time",
      .positionals = {config_file_argument()},
      .flags =
          {
              {.name = "--experts-per-token",
               .kind = ValueKind::kNumber,
               .metavar = "K",
               .range = {.minimum = 0, .minimum_open = true},
               .help = "expect K experts per token (default: by the router, as printed)"},
              {.name = "--fits",
               .kind = ValueKind::kBytes,
               .metavar = "SIZE",
               .help = "find the largest micro-batch within this memory, e.g. 80GiB"},
              {.name = "--tokens-per-second",
               .kind = ValueKind::kNumber,
               .metavar = "N",
               .range = {.minimum = 0, .minimum_open = true},
               .help = "tell the time at this throughput"},
              {.name = "--measure",
               .kind = ValueKind::kSwitch,
               .help = "tell the time from a matrix product measured on this CPU"},
              {.name = "--mfu",
               .kind = ValueKind::kNumber,
               .metavar = "SHARE",
               .default_text = "0.3",
               .range = {.minimum = 0, .maximum = 1, .minimum_open = true},
               .help = "share of the measured peak that training is taken to reach"},
              {.name = "--layout",
               .kind = ValueKind::kText,
               .metavar = "RANKSxEXPERT,...",
               .help = "also tell memory, bytes sent and time of each rank of these layouts"},
              {.name = "--load",
               .kind = ValueKind::kRun,
               .metavar = "RUN",
               .help = "with --layout: experts are as unevenly loaded as in this run"},
              {.name = "--ranks-per-node",
               .kind = ValueKind::kInteger,
               .metavar = "N",
               .default_text = "8",
               .range = between(1, 1024),
               .help = "with --layout: ranks that are on one machine"},
              {.name = "--node-bandwidth",
               .kind = ValueKind::kNumber,
               .metavar = "GB/S",
               .default_text = "450",
               .range = {.minimum = 0, .minimum_open = true},
               .help = "with --layout: what a rank sends in a second to others on its machine "
                       "(NVLink of an H100)"},
              {.name = "--network-bandwidth",
               .kind = ValueKind::kNumber,
               .metavar = "GB/S",
               .default_text = "50",
               .range = {.minimum = 0, .minimum_open = true},
               .help = "with --layout: the same to other machines (InfiniBand NDR)"},
              {.name = "--rank-tflops",
               .kind = ValueKind::kNumber,
               .metavar = "N",
               .default_text = "989",
               .range = {.minimum = 0, .minimum_open = true},
               .help = "with --layout: peak TFLOP/s of a rank (bf16 of an H100), of which --mfu "
                       "is used"},
          },
      .takes_overrides = true,
      .example = "switchyard plan configs/huang-3.5b.yaml --fits 80GiB",
      .check = &check_plan};
}

void check_doctor(const ParsedArguments& arguments, std::vector<std::string>& problems) {
  if (arguments.has("--device") && !arguments.has("--links")) {
    problems.emplace_back("--device: about the links between ranks; add --links");
  }
}

VerbSpec doctor_verb() {
  return {
      .name = "doctor",
      .summary = "is this machine fit to train on, and which precision suits it",
      .flags = {{.name = "--json",
                 .kind = ValueKind::kSwitch,
                 .help = "print one JSON object instead of lines"},
                {.name = "--links",
                 .kind = ValueKind::kSwitch,
                 .help = "also measure how fast ranks reach each other: switchyard launch --nproc "
                         "4 -- doctor --links"},
                {.name = "--device",
                 .kind = ValueKind::kChoice,
                 .metavar = "cpu|cuda",
                 .default_text = "cpu",
                 .choices = {"cpu", "cuda"},
                 .help = "with --links: between GPUs (over NCCL) or between processes (MPI)"}},
      .example = "switchyard doctor",
      .check = &check_doctor};
}

VerbSpec verify_layout_verb() {
  return {.name = "verify-layout",
          .summary = "prove that a model trains the same on several ranks as on one",
          .positionals = {config_file_argument()},
          .flags =
              {
                  {.name = "--layouts",
                   .metavar = "RxE,...",
                   .default_text = "2x1,2x2,4x1,4x2,4x4",
                   .help = "ranks x parallel.expert; ranks are threads of this process"},
                  {.name = "--steps",
                   .kind = ValueKind::kInteger,
                   .metavar = "N",
                   .default_text = "5",
                   .range = {.minimum = 1, .maximum = 1000},
                   .help = "training steps in each layout"},
              },
          .takes_overrides = true,
          .example = "switchyard verify-layout configs/tiny.yaml train.precision=fp64"};
}

}  // namespace switchyard::config
