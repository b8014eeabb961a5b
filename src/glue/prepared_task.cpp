#include "glue/prepared_task.h"

#include <algorithm>
#include <system_error>
#include <utility>

#include "switchyard/core/log.h"
#include "switchyard/core/text.h"
#include "switchyard/data/sample_source.h"

namespace switchyard::glue {
namespace fs = std::filesystem;
namespace {

constexpr std::uint64_t kDraw = 1;  // of finetune.max_rows: the same rows for all seeds

void tell_of_broken_rows(const RowSet& set) {
  if (set.num_broken == 0) return;
  log::warning("{}: {} left out as broken, the first one: {}", set.file.string(),
               counted(set.num_broken, "row"), set.first_broken);
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

}  // namespace

PreparedTask prepare_task(const Task& task, const fs::path& folder, const Start& start,
                          bool submission) {
  const std::int64_t max_length = start.config.finetune.max_length;
  const auto encode = [&](const RowSet& set) {
    return encode_rows(task, set.rows, start.tokenizer,
                       {.max_length = max_length, .causal = start.config.model.is_causal()});
  };
  RowSet train_rows = read_rows(folder, task, task.train, Part::train);
  tell_of_broken_rows(train_rows);
  keep_some(train_rows.rows, start.config.finetune.max_rows);
  PreparedTask prepared{.task = task,
                        .data = {.train = encode(train_rows),
                                 .dev = {},
                                 .tokenizer = start.tokenizer,
                                 .train_fingerprint = {},
                                 .dev_fingerprint = {}},
                        .train_file = train_rows.file,
                        .dev_rows = {},
                        .test = {}};
  TaskData& data = prepared.data;
  data.train_fingerprint = fingerprint_of({&data.train, 1});
  if (data.train.num_cut > 0) {
    log::info("{}: {} of {} training rows are longer than {} tokens and cut", task.folder,
              data.train.num_cut, data.train.rows.size(), max_length);
  }
  for (const File& file : task.dev) {
    prepared.dev_rows.push_back(read_rows(folder, task, file, Part::dev));
    tell_of_broken_rows(prepared.dev_rows.back());
    data.dev.push_back(encode(prepared.dev_rows.back()));
  }
  data.dev_fingerprint = fingerprint_of(data.dev);
  if (!submission) return prepared;
  for (const File& file : task.test) {
    std::error_code ignored;
    const bool is_beside = file.name.starts_with("..");
    if (is_beside && !fs::exists(folder / task.folder / file.name, ignored)) {
      log::info("no {}: {} is not predicted",
                (folder / task.folder / file.name).lexically_normal().string(), file.submission);
      continue;
    }
    RowSet rows = read_rows(folder, task, file, Part::test);
    tell_of_broken_rows(rows);
    EncodedSet encoded = encode(rows);
    prepared.test.push_back({.file = file, .rows = std::move(rows), .encoded = std::move(encoded)});
  }
  return prepared;
}

}  // namespace switchyard::glue
