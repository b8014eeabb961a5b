#include "switchyard/glue/finetune.h"

#include <optional>
#include <system_error>
#include <utility>

#include "glue/comparison/baseline.h"
#include "glue/grid.h"
#include "glue/output_folder.h"
#include "glue/report_page.h"
#include "glue/seed_run.h"
#include "glue/task_run.h"
#include "switchyard/checkpoint/checkpoint.h"
#include "switchyard/comm/self.h"
#include "switchyard/comm/text.h"
#include "switchyard/config/finetune_folder.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"
#include "switchyard/core/folder_name.h"
#include "switchyard/core/log.h"
#include "switchyard/ops/device.h"
#include "switchyard/telemetry/report.h"
#include "switchyard/train/router_meaning.h"
#include "switchyard/train/stop_signal.h"
#include "train/agreement.h"
#include "train/run/run_ranks.h"
#include "train/run/side_work.h"

namespace switchyard::glue {
namespace fs = std::filesystem;
namespace {

bool leads(comm::Communicator& world) {
  return train::RunRanks(world).leads();
}

// What ranks must have alike: they read all of it themselves.
train::Facts facts_of(const Grid& grid) {
  train::Facts facts = train::facts_of(grid.start.config);
  facts.emplace_back("--seeds", fmt::format("{}", grid.options.num_seeds));
  facts.emplace_back("--submission", fmt::format("{}", grid.options.submission));
  facts.emplace_back("the model's hash", grid.start.fingerprint);
  for (const PreparedTask& prepared : grid.tasks) {
    std::string rows = prepared.data.train_fingerprint + "-" + prepared.data.dev_fingerprint;
    for (const PreparedTask::Test& test : prepared.test) {
      rows += "-" + fingerprint_of({&test.encoded, 1});
    }
    facts.emplace_back(fmt::format("the hash of {}'s rows", prepared.task.folder), rows);
  }
  return facts;
}

// The leader's.
std::optional<log::LogFile> open_log(const Grid& grid, comm::Communicator& world) {
  std::optional<log::LogFile> file;
  if (leads(world)) file.emplace(grid.options.output / "log.txt");
  return file;
}

void write_results(const fs::path& output, const std::vector<TaskResult>& results) {
  write_file_atomically(output / "results.md", results_markdown(results));
  write_file_atomically(output / kTableName, results_json(results));
  write_file_atomically(output / telemetry::kReportName,
                        report_page(name_of_folder(output), results));
}

// What a command's grids share.
struct Command {
  comm::Communicator& world;
  train::StopSignal stop = {};  // one: none is missed between two grids
  train::SideWork side_work = {};
};

std::vector<TaskResult> run_grid(const Grid& grid, const Baseline& baseline, Command& command) {
  comm::Communicator& world = command.world;
  if (leads(world)) {
    train::tell_of_fresh_routers(grid.start.fresh_routers, grid.start.config.train.freeze_router);
  }
  std::vector<TaskResult> results;
  for (const PreparedTask& prepared : grid.tasks) {
    TaskResult result = run_task({.start = grid.start,
                                  .prepared = prepared,
                                  .world = world,
                                  .stop = command.stop,
                                  .side_work = command.side_work},
                                 grid);
    const auto compared = baseline.find(result.task.name);
    if (compared != baseline.end()) result.baseline = compared->second;
    if (leads(world)) {
      for (const std::string& note : notes_on_baseline(result)) log::warning("{}", note);
    }
    results.push_back(std::move(result));
    if (!leads(world)) continue;
    command.side_work.attempt("writing the tables of " + grid.options.output.string(),
                              std::ssize(results),
                              [&] { write_results(grid.options.output, results); });
  }
  return results;
}

Baseline run_baseline(const Grid& grid, Command& command) {
  const std::optional<log::LogFile> log = open_log(grid, command.world);
  return baseline_of(run_grid(grid, {}, command));
}

// Results that are there, not a run that is to be fine-tuned.
bool is_finetuned(const fs::path& baseline) {
  std::error_code ignored;
  return config::holds_finetune(baseline) || fs::exists(baseline / kTableName, ignored);
}

void check_baseline(const FinetuneOptions& options) {
  std::error_code ignored;
  if (!fs::equivalent(options.baseline, options.output, ignored)) return;
  throw UsageError("--baseline: it is --output itself",
                   "name the folder of the grid to compare with");
}

// "The newest checkpoint" of a run may be another one a moment later, or for another machine: the
// leader's, on all ranks.
FinetuneOptions with_one_start(FinetuneOptions options, comm::Communicator& world) {
  if (world.size() == 1) return options;
  const auto newest = [&](const fs::path& run) {
    const bool is_run = leads(world) && !run.empty() && !is_finetuned(run);
    const std::string folder =
        is_run ? checkpoint::Checkpoint::open(run).folder().string() : std::string();
    return comm::text_of_first(world, folder, "checkpoint to begin with");
  };
  for (fs::path* const start : {&options.from, &options.baseline}) {
    if (const std::string folder = newest(*start); !folder.empty()) *start = folder;
  }
  return options;
}

}  // namespace

std::vector<TaskResult> finetune(const FinetuneOptions& given, comm::Communicator& world) {
  check_baseline(given);
  const FinetuneOptions options = with_one_start(given, world);
  const Grid grid = open_grid(options, world.size());
  Baseline baseline;
  std::optional<Grid> compared;
  if (!options.baseline.empty()) {
    if (is_finetuned(options.baseline)) {
      baseline = read_baseline(options.baseline, grid.tasks);
    } else {
      compared = open_baseline_grid(grid, world.size());
    }
  }
  train::check_ranks_agree(world, facts_of(grid));
  if (compared) train::check_ranks_agree(world, facts_of(*compared));
  if (leads(world)) {
    check_output(grid, world.size());
    if (compared) check_output(*compared, world.size());
    claim_output(grid);
    if (compared) claim_output(*compared);
  }
  world.barrier("output folder");
  const std::optional<log::LogFile> log = open_log(grid, world);
  if (grid.start.config.train.deterministic) ops::make_deterministic();
  Command command{.world = world};
  if (compared) baseline = run_baseline(*compared, command);
  compared.reset();  // its rows are many
  std::vector<TaskResult> results = run_grid(grid, baseline, command);
  if (options.at_end) options.at_end(results);
  command.side_work.check_last();
  return results;
}

std::vector<TaskResult> finetune(const FinetuneOptions& options) {
  return finetune(options, *comm::make_self_communicator());
}

}  // namespace switchyard::glue
