#include "switchyard/glue/rows.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>

#include "glue/files/custom.h"
#include "glue/files/table_text.h"
#include "switchyard/core/error.h"
#include "switchyard/core/hash.h"
#include "switchyard/core/text.h"
#include "switchyard/format/tsv.h"

namespace switchyard::glue {
namespace fs = std::filesystem;
namespace {

using format::TsvReader;

constexpr double kMostBroken = 0.01;
constexpr std::int64_t kMostNamed = 10;

// Where the fields are.
struct Places {
  std::size_t text_a = 0;
  std::optional<std::size_t> text_b;
  std::optional<std::size_t> label;
  std::optional<std::size_t> index;
};

Places places_of(const TsvReader& reader, const Task& task, const Columns& columns) {
  const auto place = [&](const std::string& name) -> std::optional<std::size_t> {
    if (name.empty()) return std::nullopt;
    try {
      return reader.column(name);
    } catch (const DataError& error) {
      throw DataError(error.what(), fmt::format("is this a file of {}?", task.folder));
    }
  };
  return {.text_a = *place(columns.text_a),
          .text_b = place(columns.text_b),
          .label = place(columns.label),
          .index = place(columns.index)};
}

Places places_of(const HeaderlessColumns& columns) {
  return {.text_a = columns.text, .text_b = {}, .label = columns.label, .index = {}};
}

// A folder given in the place of the one above it, or of another layout.
std::string hint_for(const fs::path& folder, const Task& task, const fs::path& file) {
  std::error_code ignored;
  if (fs::exists(folder / file.filename(), ignored)) {
    return fmt::format(
        "'{}' is the folder of one task: --data takes the one above it, which "
        "holds {}",
        printable_line(folder.string()), task.folder);
  }
  std::vector<std::string> there;
  for (const Task& other : all_tasks()) {
    if (fs::is_directory(folder / other.folder, ignored)) there.push_back(other.folder);
  }
  if (there.empty()) {
    return "--data takes the folder of GLUE, with CoLA/train.tsv, SST-2/train.tsv and so on; "
           "docs/glue.md says how to get it";
  }
  return fmt::format("'{}' holds {}", printable_line(folder.string()), join(there, ", "));
}

}  // namespace

std::optional<double> parse_number(std::string_view text) {
  double value = 0.0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) {
    return std::nullopt;
  }
  return value;
}

namespace {

// "1.0" is the class "1".
std::optional<double> parse_class(const Task& task, std::string_view text) {
  const auto same = std::find(task.labels.begin(), task.labels.end(), text);
  if (same != task.labels.end()) return static_cast<double>(same - task.labels.begin());
  for (std::size_t i = 0; i < task.labels.size(); ++i) {
    const auto known = parse_number(task.labels[i]);
    if (known && known == parse_number(text)) return static_cast<double>(i);
  }
  return std::nullopt;
}

}  // namespace

double label_of(const Task& task, std::string_view text, const std::string& place) {
  if (task.is_regression()) {
    const auto score = parse_number(text);
    const auto& highest = task.highest_score;
    if (score && (!highest || (*score >= 0.0 && *score <= *highest))) return *score;
    throw DataError(
        fmt::format("{}: the score is '{}', expected a number{}", place, printable(text),
                    highest ? fmt::format(" from 0 to {:g}", *highest) : ""),
        highest ? fmt::format("is this a file of {}?", task.folder)
                : "are they names of classes? Then leave finetune.regression out");
  }
  const auto found = parse_class(task, text);
  if (found) return *found;
  throw DataError(fmt::format("{}: unknown label '{}', expected {}", place, printable(text),
                              join(task.labels, " or ")),
                  task.name == kCustom
                      ? "finetune.labels says which there are; left out, it is those of the "
                        "training rows"
                      : fmt::format("is this a file of {}?", task.folder));
}

RowSet parse_rows(std::string_view text, const std::string& name, const Task& task,
                  const File& file, Part part) {
  const bool has_header = !task.headerless || part == Part::test;
  TsvReader reader(text, name,
                   has_header ? TsvReader::Header::kFirstLine : TsvReader::Header::kNone);
  const Places places =
      has_header ? places_of(reader, task, file.columns) : places_of(*task.headerless);
  RowSet set{.file = name, .rows = {}, .num_broken = 0, .broken = {}};
  for (;;) {
    std::optional<TsvReader::Row> fields;
    try {
      fields = reader.next();
    } catch (const DataError& error) {
      if (set.num_broken++ < kMostNamed) set.broken.emplace_back(error.what());
      continue;
    }
    if (!fields) break;
    const std::string place = fmt::format("{}:{}", name, fields->number);
    if (!has_header && fields->field.size() != task.headerless->num_fields) {
      throw DataError(
          fmt::format("{}: {} between tabs, expected {}", place,
                      counted(std::ssize(fields->field), "field"), task.headerless->num_fields),
          fmt::format("is this a file of {}?", task.folder));
    }
    Row row{.text_a = std::string(fields->field[places.text_a]),
            .text_b = places.text_b ? std::string(fields->field[*places.text_b]) : std::string(),
            .label = places.label ? label_of(task, fields->field[*places.label], place) : 0.0,
            .index = places.index
                         ? checked_field(std::string(fields->field[*places.index]), "index", place)
                         : fmt::format("{}", set.rows.size()),
            .line = fields->number};
    set.rows.push_back(std::move(row));
  }
  const auto num_rows = static_cast<double>(std::ssize(set.rows) + set.num_broken);
  if (set.num_broken > 0 && part == Part::test) {
    throw DataError(set.broken.front(), "every row of a test file has to be answered");
  }
  if (set.num_broken > 0 &&
      static_cast<double>(set.num_broken) > kMostBroken * std::max(100.0, num_rows)) {
    throw DataError(fmt::format("{}: {} broken, the first one: {}", name,
                                counted(set.num_broken, "row"), set.broken.front()),
                    "rows are one line each, with tabs between fields and no quoting");
  }
  if (set.rows.empty()) {
    throw DataError(fmt::format("{}: no rows", name), "is it the right file, and all of it?");
  }
  return set;
}

RowSet read_rows(const fs::path& folder, const Task& task, const File& file, Part part) {
  const fs::path path = (folder / task.folder / file.name).lexically_normal();
  std::error_code ignored;
  if (!fs::exists(path, ignored)) {
    throw UsageError(fmt::format("no file '{}'", printable_line(path.string())),
                     hint_for(folder, task, path));
  }
  RowSet set = parse_rows(read_table(path.string()), path.string(), task, file, part);
  set.file = path;
  return set;
}

std::string content_hash(const Task& task, std::span<const RowSet> sets) {
  Xxh3Stream stream;
  const auto add = [&stream](std::string_view text) {
    const std::uint64_t size = text.size();  // so that no text runs on into the next
    stream.update(std::as_bytes(std::span(&size, 1)));
    stream.update(std::as_bytes(std::span(text)));
  };
  const auto& metrics = task.metrics;
  for (const Metric metric : metrics) add(metric_name(metric));
  if (std::find(metrics.begin(), metrics.end(), Metric::f1) != metrics.end()) add(task.labels[1]);
  for (const RowSet& set : sets) {
    add(fmt::format("{}", set.rows.size()));
    for (const Row& row : set.rows) {
      add(row.text_a);
      add(row.text_b);
      add(task.is_regression() ? fmt::format("{}", row.label)
                               : task.labels[static_cast<std::size_t>(row.label)]);
    }
  }
  return to_hex(stream.digest());
}

Majority majority_of(const Task& task, const std::vector<Row>& rows) {
  if (task.is_regression() || rows.empty()) return {};
  std::vector<std::int64_t> count(task.labels.size());
  for (const Row& row : rows) ++count[static_cast<std::size_t>(row.label)];
  const auto most = std::max_element(count.begin(), count.end());
  return {.label = static_cast<std::size_t>(most - count.begin()),
          .share = static_cast<double>(*most) / static_cast<double>(rows.size())};
}

}  // namespace switchyard::glue
