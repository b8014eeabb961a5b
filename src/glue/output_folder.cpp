#include "glue/output_folder.h"

#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "glue/seed_run.h"
#include "switchyard/config/finetune_folder.h"
#include "switchyard/config/folders.h"
#include "switchyard/core/error.h"
#include "switchyard/core/file.h"
#include "switchyard/core/output.h"
#include "switchyard/core/text.h"
#include "switchyard/format/json.h"

namespace switchyard::glue {
namespace fs = std::filesystem;
namespace {

using format::Json;

constexpr const char* kTrain = "train";
constexpr const char* kDev = "dev";
constexpr const char* kOther = "choose another --output";

constexpr const char* kNone = "none";

std::string from_text(const Grid& grid) {
  return grid.start.model ? grid.start.model->folder : std::string(kNone);
}

// What an earlier command noted; an empty object when there was none.
Json noted_in(const fs::path& output) {
  const std::string file = (output / config::kFinetuneName).string();
  if (!config::holds_finetune(output)) return Json::object();
  Json noted = format::parse_json(read_file(file), file);
  if (!noted.is_object()) throw DataError(fmt::format("{}: expected an object", file));
  return noted;
}

// What is noted of a task's rows; an empty object where nothing is.
Json rows_of(const Json& noted, const std::string& task) {
  const auto rows = noted.find("rows");
  if (rows == noted.end() || !rows->is_object()) return Json::object();
  const auto of_task = rows->find(task);
  return of_task != rows->end() && of_task->is_object() ? *of_task : Json::object();
}

void check_kind(const fs::path& output) {
  std::error_code error;
  const std::string shown = printable_line(output.string());
  if (fs::exists(output, error) && !fs::is_directory(output, error)) {
    throw UsageError(fmt::format("--output: '{}' is a file", shown), kOther);
  }
  const char* const what = config::holds_run(output)             ? "a run"
                           : config::is_checkpoint(output)       ? "a checkpoint"
                           : config::holds_prepared_data(output) ? "a prepared data set"
                                                                 : nullptr;
  if (what == nullptr) return;
  throw UsageError(fmt::format("--output: '{}' is {}", shown, what), "choose a folder of its own");
}

// Neither where `finetune ... > out/log.txt` writes nor what `... | tee out/log.txt` begins.
bool is_foreign(const fs::path& file) {
  std::error_code ignored;
  return fs::exists(file, ignored) && !fs::is_empty(file, ignored) && !config::is_our_output(file);
}

// What a grid writes beside its runs, at their end or before: met only then, it would cost them.
void check_nothing_in_the_way(const fs::path& output, const std::vector<PreparedTask>& tasks) {
  std::error_code error;
  const auto refuse = [](const fs::path& path, const char* is, const char* wanted) {
    throw UsageError(fmt::format("--output: '{}' is {}; finetune puts {} there",
                                 printable_line(path.string()), is, wanted),
                     "move it away, or choose another --output");
  };
  for (const std::string_view name : config::kFinetuneFiles) {
    if (fs::is_directory(output / name, error)) refuse(output / name, "a folder", "a file");
  }
  if (!config::holds_finetune(output)) {
    for (const std::string_view name : config::kFinetuneFiles) {
      if (is_foreign(output / name)) refuse(output / name, "a file of something else", "its own");
    }
    const fs::path submission = output / config::kSubmissionFolderName;
    if (fs::is_directory(submission, error) && !fs::is_empty(submission, error)) {
      refuse(submission, "a folder of something else", "its own");
    }
  }
  std::vector<std::string> folders = {config::kSubmissionFolderName, "baseline"};
  for (const PreparedTask& prepared : tasks) folders.push_back(prepared.task.name);
  for (const std::string& name : folders) {
    const fs::path path = output / name;
    if (fs::exists(path, error) && !fs::is_directory(path, error)) {
      refuse(path, "a file", "a folder");
    }
  }
}

void check_start(const Json& noted, const Grid& grid) {
  const fs::path& output = grid.options.output;
  const std::string file = (output / config::kFinetuneName).string();
  if (format::json_string(noted, "fingerprint", file) == grid.start.fingerprint) return;
  const std::string before = format::json_string(noted, "from", file);
  const std::string now = from_text(grid);
  const std::string difference =
      before != now ? fmt::format("started from {}, not from {}", before, now)
      : now == kNone
          ? fmt::format("have another tokenizer than this one ({}, {})",
                        counted(grid.start.tokenizer.vocab_size(), "piece"),
                        grid.start.tokenizer.hash())
          : fmt::format("started from {} as it was then; it is another checkpoint now", now);
  throw UsageError(fmt::format("{} holds runs that {}", output.string(), difference), kOther);
}

void check_rows(const Json& noted, const fs::path& output, const PreparedTask& prepared) {
  const auto check = [&](const char* part, const std::string& fingerprint,
                         const std::string& file) {
    const bool is_noted = noted.contains(part);
    const std::string name = (output / config::kFinetuneName).string();
    if (!is_noted || format::json_string(noted, part, name) == fingerprint) return;
    throw UsageError(
        fmt::format("{}: its runs had other {} rows than are in {} now",
                    (output / prepared.task.name).string(), part, file),
        "the file, finetune.max_rows or finetune.max_length is another one: give what was there "
        "before, or choose another --output");
  };
  check(kTrain, prepared.data.train_fingerprint, prepared.train_file.string());
  std::vector<std::string> dev_files;
  for (const auto& rows : prepared.dev_rows) dev_files.push_back(rows.file.string());
  check(kDev, prepared.data.dev_fingerprint, join(dev_files, " or "));
}

}  // namespace

void check_output(const Grid& grid, std::int64_t num_ranks) {
  const fs::path& output = grid.options.output;
  check_kind(output);
  check_nothing_in_the_way(output, grid.tasks);
  const Json noted = noted_in(output);
  if (!noted.empty()) check_start(noted, grid);
  for (const PreparedTask& prepared : grid.tasks) {
    std::error_code ignored;
    if (!fs::exists(output / prepared.task.name, ignored)) continue;
    check_rows(rows_of(noted, prepared.task.name), output, prepared);
    for (const config::Config& run : possible_runs(grid, prepared)) {
      check_seed_folder(run, num_ranks);
    }
  }
}

void claim_output(const Grid& grid) {
  const fs::path& output = grid.options.output;
  std::error_code error;
  fs::create_directories(follow_links(output), error);
  if (error) {
    throw StorageError(
        fmt::format("cannot make the folder {}: {}", output.string(), error.message()));
  }
  const Json before = noted_in(output);
  Json rows = before.contains("rows") ? before["rows"] : Json::object();
  if (!rows.is_object()) rows = Json::object();
  for (const PreparedTask& prepared : grid.tasks) {
    rows[prepared.task.name] = {{kTrain, prepared.data.train_fingerprint},
                                {kDev, prepared.data.dev_fingerprint}};
  }
  const Json noted = {
      {"from", from_text(grid)}, {"fingerprint", grid.start.fingerprint}, {"rows", rows}};
  write_file_atomically(output / config::kFinetuneName, format::json_text(noted, 2) + "\n");
}

}  // namespace switchyard::glue
