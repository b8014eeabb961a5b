#include "glue/files/custom.h"

#include <algorithm>
#include <functional>
#include <set>
#include <utility>
#include <vector>

#include "glue/files/table_text.h"
#include "switchyard/core/error.h"
#include "switchyard/core/text.h"
#include "switchyard/format/json.h"
#include "switchyard/format/jsonl.h"
#include "switchyard/format/tsv.h"

namespace switchyard::glue {
namespace fs = std::filesystem;
namespace {

using config::FinetuneConfig;

constexpr std::size_t kMostLabels = 1000;
constexpr std::size_t kMaxLineBytes = std::size_t{1} << 24;
constexpr const char* kIndex = "index";
constexpr const char* kTextColumn = "finetune.text_column";
constexpr const char* kPairColumn = "finetune.pair_column";
constexpr const char* kLabelColumn = "finetune.label_column";
constexpr std::size_t kNowhere = std::string::npos;

// A row as the file spells it.
struct Spelled {
  std::string text_a;
  std::string text_b;
  std::string label;
  std::optional<std::string> index;
  std::size_t line = 0;
};
using Take = std::function<void(Spelled row)>;

// What `find` finds in a file; where it throws DataError, the setting that says where to look is
// named.
template <typename Find>
auto named_by(const char* setting, const Find& find) {
  try {
    return find();
  } catch (const DataError& error) {
    throw DataError(error.what(), fmt::format("{} says which one is meant", setting));
  }
}

void read_tsv(std::string_view text, const std::string& name, const FinetuneConfig& config,
              bool is_labelled, const Take& take) {
  format::TsvReader reader(text, name, format::TsvReader::Header::kFirstLine);
  const auto place = [&reader](const std::string& column, const char* setting) {
    return named_by(setting, [&] { return reader.column(column); });
  };
  const std::size_t text_a = place(config.text_column, kTextColumn);
  const std::size_t text_b =
      config.pair_column.empty() ? kNowhere : place(config.pair_column, kPairColumn);
  const std::size_t label = is_labelled ? place(config.label_column, kLabelColumn) : kNowhere;
  const auto& columns = reader.columns();
  const bool has_index = std::find(columns.begin(), columns.end(), kIndex) != columns.end();
  const std::size_t index = has_index ? reader.column(kIndex) : kNowhere;
  while (const auto row = reader.next()) {
    const auto field = [&row](std::size_t i) {
      return i == kNowhere ? std::string() : std::string(row->field[i]);
    };
    Spelled spelled{.text_a = field(text_a),
                    .text_b = field(text_b),
                    .label = field(label),
                    .index = {},
                    .line = row->number};
    if (has_index) spelled.index = field(index);
    take(std::move(spelled));
  }
}

// A string, or a number or truth value as it is written.
std::string spelling_of(const format::Json& value, const char* key, const std::string& place) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number() || value.is_boolean()) return format::json_text(value);
  throw DataError(fmt::format("{}: '{}' is {}, expected a text, a number or a truth value", place,
                              key, printable(format::json_text(value))));
}

void read_jsonl(std::string_view text, const std::string& name, const FinetuneConfig& config,
                bool is_labelled, const Take& take) {
  format::LineReader lines(text, name, kMaxLineBytes);
  while (const auto line = lines.next()) {
    const std::string place = fmt::format("{}:{}", name, line->number);
    const format::Json json = format::parse_json(line->text, place);
    const auto text_in = [&](const std::string& key, const char* setting) {
      return named_by(setting, [&] { return format::json_string(json, key.c_str(), place); });
    };
    Spelled spelled{.text_a = text_in(config.text_column, kTextColumn),
                    .text_b = {},
                    .label = {},
                    .index = {},
                    .line = line->number};
    if (!config.pair_column.empty()) spelled.text_b = text_in(config.pair_column, kPairColumn);
    if (is_labelled) {
      const char* key = config.label_column.c_str();
      spelled.label = named_by(kLabelColumn, [&] {
        return spelling_of(format::json_member(json, key, place), key, place);
      });
    }
    if (json.contains(kIndex)) spelled.index = spelling_of(json[kIndex], kIndex, place);
    take(std::move(spelled));
  }
}

void read(std::string_view text, const std::string& name, const FinetuneConfig& config,
          bool is_labelled, const Take& take) {
  const auto read_file = name.ends_with(".jsonl") ? &read_jsonl : &read_tsv;
  read_file(text, name, config, is_labelled, take);
}

}  // namespace

Task custom_task(const FinetuneConfig& config) {
  Task task;
  task.name = kCustom;
  task.folder = kCustom;
  if (config.regression) {
    task.metrics = {Metric::pearson, Metric::spearmanr};
  } else {
    const std::vector<std::string_view> labels = split(config.labels, ",");
    task.labels.assign(labels.begin(), labels.end());
    if (task.labels.size() < 2) {
      throw UsageError(fmt::format("finetune.labels: '{}' names fewer than two classes",
                                   printable(config.labels)),
                       "write them with commas, as no,maybe,yes");
    }
    for (const std::string& label : task.labels) {
      (void)checked_field(label, "class", "finetune.labels");
    }
    const std::set<std::string> different(task.labels.begin(), task.labels.end());
    if (different.size() < task.labels.size()) {
      throw UsageError("finetune.labels: a class is there twice");
    }
    task.metrics = {Metric::accuracy};
    if (task.labels.size() == 2) task.metrics.push_back(Metric::f1);
  }
  const Columns columns{.text_a = config.text_column,
                        .text_b = config.pair_column,
                        .label = config.label_column,
                        .index = ""};
  task.train = {.name = "train", .suffix = "", .submission = "", .columns = columns};
  task.dev = {{.name = "dev", .suffix = "", .submission = "", .columns = columns}};
  task.test = {{.name = "test", .suffix = "", .submission = "custom.tsv", .columns = columns}};
  return task;
}

std::optional<fs::path> custom_file(const fs::path& folder, const std::string& part) {
  const fs::path tsv = folder / (part + ".tsv");
  const fs::path jsonl = folder / (part + ".jsonl");
  std::error_code ignored;
  const bool has_tsv = fs::exists(tsv, ignored);
  const bool has_jsonl = fs::exists(jsonl, ignored);
  if (has_tsv && has_jsonl) {
    throw UsageError(fmt::format("both '{}' and '{}' are there", printable_line(tsv.string()),
                                 printable_line(jsonl.string())),
                     "remove one of them");
  }
  if (has_tsv) return tsv;
  if (has_jsonl) return jsonl;
  return std::nullopt;
}

RowSet parse_custom_rows(std::string_view text, const std::string& name, const Task& task,
                         const FinetuneConfig& config, Part part) {
  RowSet set{.file = name, .rows = {}, .num_broken = 0, .broken = {}};
  const bool is_labelled = part != Part::test;
  read(text, name, config, is_labelled, [&](Spelled spelled) {
    const std::string place = fmt::format("{}:{}", name, spelled.line);
    Row row{.text_a = std::move(spelled.text_a),
            .text_b = std::move(spelled.text_b),
            .label = is_labelled ? label_of(task, spelled.label, place) : 0.0,
            .index = {},
            .line = spelled.line};
    row.index = is_labelled || !spelled.index ? fmt::format("{}", set.rows.size())
                                              : checked_field(*spelled.index, kIndex, place);
    set.rows.push_back(std::move(row));
  });
  if (set.rows.empty()) {
    throw DataError(fmt::format("{}: no rows", name), "is it the right file, and all of it?");
  }
  return set;
}

std::string labels_in(std::string_view text, const std::string& name,
                      const FinetuneConfig& config) {
  std::set<std::string> found;
  read(text, name, config, /*is_labelled=*/true, [&](const Spelled& spelled) {
    const std::string place = fmt::format("{}:{}", name, spelled.line);
    if (spelled.label.empty()) throw DataError(place + ": the label is empty");
    if (spelled.label.find(',') != std::string::npos) {
      throw DataError(
          fmt::format("{}: the label '{}' has a comma", place, printable(spelled.label)),
          "names of classes have none; rename it");
    }
    found.insert(checked_field(spelled.label, "label", place));
    if (found.size() <= kMostLabels) return;
    throw DataError(fmt::format("{}: more than {} different labels", place, kMostLabels),
                    "are they numbers? Then set finetune.regression=true");
  });
  const auto number = [](const std::string& label) { return parse_number(label); };
  std::vector<std::string> labels;
  for (const std::string& label : found) {  // of "1" and "1.0" the first: one class
    const bool is_known =
        number(label) && std::any_of(labels.begin(), labels.end(), [&](const std::string& known) {
          return number(known) == number(label);
        });
    if (!is_known) labels.push_back(label);
  }
  if (labels.size() < 2) {
    throw DataError(labels.empty() ? fmt::format("{}: no rows", name)
                                   : fmt::format("{}: every row has the label '{}'", name,
                                                 printable(labels.front())),
                    "a task needs rows of at least two classes");
  }
  if (std::all_of(labels.begin(), labels.end(),
                  [&](const std::string& label) { return number(label).has_value(); })) {
    std::stable_sort(labels.begin(), labels.end(),
                     [&](const auto& a, const auto& b) { return *number(a) < *number(b); });
  }
  return join(labels, ",");
}

}  // namespace switchyard::glue
