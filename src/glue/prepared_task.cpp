#include "glue/prepared_task.h"

#include <algorithm>
#include <system_error>
#include <utility>

#include "glue/files/custom.h"
#include "glue/files/table_text.h"
#include "glue/fine_tuned.h"
#include "switchyard/core/error.h"
#include "switchyard/core/log.h"
#include "switchyard/core/text.h"
#include "switchyard/data/sample_source.h"

namespace switchyard::glue {
namespace fs = std::filesystem;
namespace {

constexpr std::uint64_t kDraw = 1;  // of finetune.max_rows: the same rows for all seeds

void tell_of_broken_rows(const RowSet& set) {
  if (set.num_broken == 0) return;
  log::warning("{}: {} left out as broken: {}{}", set.file.string(), counted(set.num_broken, "row"),
               join(set.broken, "; "), set.num_broken > std::ssize(set.broken) ? "; ..." : "");
}

void keep_some(std::vector<Row>& rows, std::int64_t max_rows) {
  if (max_rows == 0 || max_rows >= std::ssize(rows)) return;
  const data::Permutation order(std::ssize(rows), kDraw);
  std::vector<Row> kept;
  for (std::int64_t i = 0; i < max_rows; ++i) {
    kept.push_back(rows[static_cast<std::size_t>(order(i))]);
  }
  rows = std::move(kept);
}

// What was read, before it is encoded.
struct Files {
  RowSet train;
  std::vector<RowSet> dev = {};  // as Task::dev
  std::vector<PreparedTask::Test> test = {};
};

PreparedTask encode(const Task& task, Files files, const Start& start) {
  const std::int64_t max_length = start.config.finetune.max_length;
  const auto encode = [&](const RowSet& set) {
    tell_of_broken_rows(set);
    return encode_rows(task, set.rows, start.tokenizer,
                       {.max_length = max_length, .causal = start.config.model.is_causal()});
  };
  tell_of_broken_rows(files.train);
  files.train.num_broken = 0;
  keep_some(files.train.rows, start.config.finetune.max_rows);
  Conditions conditions{.dev_rows = content_hash(task, files.dev),
                        .training_rows = content_hash(task, {&files.train, 1}),
                        .num_train_rows = std::ssize(files.train.rows),
                        .max_length = max_length,
                        .epochs = start.config.finetune.epochs,
                        .pooling = pooling_for(start.config, task)};
  PreparedTask prepared{.task = task,
                        .data = {.train = encode(files.train),
                                 .dev = {},
                                 .tokenizer = start.tokenizer,
                                 .train_fingerprint = {},
                                 .dev_fingerprint = {}},
                        .train_file = files.train.file,
                        .dev_rows = std::move(files.dev),
                        .test = std::move(files.test),
                        .conditions = std::move(conditions)};
  TaskData& data = prepared.data;
  data.train_fingerprint = fingerprint_of({&data.train, 1});
  if (data.train.num_cut > 0) {
    log::info("{}: {} of {} training rows are longer than {} tokens and cut", task.folder,
              data.train.num_cut, data.train.rows.size(), max_length);
  }
  for (const RowSet& rows : prepared.dev_rows) data.dev.push_back(encode(rows));
  data.dev_fingerprint = fingerprint_of(data.dev);
  for (PreparedTask::Test& test : prepared.test) test.encoded = encode(test.rows);
  return prepared;
}

RowSet read_custom(const fs::path& file, const Task& task, const Start& start, Part part) {
  RowSet set = parse_custom_rows(read_table(file.string()), file.string(), task,
                                 start.config.finetune, part);
  set.file = file;
  return set;
}

fs::path required_file(const fs::path& folder, const std::string& part) {
  if (const auto file = custom_file(folder, part)) return *file;
  throw UsageError(fmt::format("neither {0}.tsv nor {0}.jsonl is in '{1}'", part,
                               printable_line(folder.string())),
                   "--task custom takes train, dev and, for predictions, test");
}

}  // namespace

PreparedTask prepare_task(const Task& task, const fs::path& folder, const Start& start,
                          bool submission) {
  Files files{.train = read_rows(folder, task, task.train, Part::train)};
  for (const File& file : task.dev) files.dev.push_back(read_rows(folder, task, file, Part::dev));
  for (const File& file : task.test) {
    if (!submission) break;
    std::error_code ignored;
    const bool is_beside = file.name.starts_with("..");
    if (is_beside && !fs::exists(folder / task.folder / file.name, ignored)) {
      log::info("no {}: {} is not predicted",
                (folder / task.folder / file.name).lexically_normal().string(), file.submission);
      continue;
    }
    files.test.push_back(
        {.file = file, .rows = read_rows(folder, task, file, Part::test), .encoded = {}});
  }
  return encode(task, std::move(files), start);
}

PreparedTask prepare_custom_task(const fs::path& folder, Start& start, bool submission) {
  config::FinetuneConfig& config = start.config.finetune;
  const fs::path train = required_file(folder, "train");
  const fs::path dev = required_file(folder, "dev");
  if (!config.regression && config.labels.empty()) {
    config.labels = labels_in(read_table(train.string()), train.string(), config);
    log::info("classes of {}: {}", train.string(), printable(config.labels));
  }
  const Task task = custom_task(config);
  Files files{.train = read_custom(train, task, start, Part::train),
              .dev = {read_custom(dev, task, start, Part::dev)}};
  const auto test = custom_file(folder, "test");
  if (submission && test) {
    files.test.push_back({.file = task.test.front(),
                          .rows = read_custom(*test, task, start, Part::test),
                          .encoded = {}});
  } else if (submission) {
    log::info("no test.tsv and no test.jsonl in {}: nothing is predicted", folder.string());
  }
  return encode(task, std::move(files), start);
}

}  // namespace switchyard::glue
