// Rows of a GLUE file: one or two texts and a label.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "switchyard/glue/tasks.h"

namespace switchyard::glue {

struct Row {
  std::string text_a;
  std::string text_b;    // empty in tasks of one sentence
  double label = 0.0;    // the class, from 0, or the score; 0 in unlabelled files
  std::string index;     // for submissions
  std::size_t line = 0;  // in its file, from 1
};

struct RowSet {
  std::filesystem::path file;
  std::vector<Row> rows;
  // Rows with another number of fields than the file has columns. They are left out.
  std::int64_t num_broken = 0;
  // The first ten of them: "MRPC/train.tsv:17: 4 fields between tabs, expected 5".
  std::vector<std::string> broken;
};

enum class Part { train, dev, test };

// Reads `file` of the task under `folder`, the one that holds all tasks. Throws, naming file and
// line, UsageError for a file that is not there (with what the folder seems to be instead), and
// DataError for a missing column, an unknown label, a file without rows, and when more than one row
// in a hundred is broken.
[[nodiscard]] RowSet read_rows(const std::filesystem::path& folder, const Task& task,
                               const File& file, Part part);
// The same of bytes; `name` is for errors.
[[nodiscard]] RowSet parse_rows(std::string_view text, const std::string& name, const Task& task,
                                const File& file, Part part);

// Of the names of the metrics, texts and labels, in order, whatever the tokenizer: the same hash,
// figures of the same. Classes count by their names, and where F1 is a metric, which one it is of.
[[nodiscard]] std::string content_hash(const Task& task, std::span<const RowSet> sets);

// The class of a label as a file spells it, from 0 ("1.0" is the class "1"), or the score. Throws
// DataError, beginning with `place`.
[[nodiscard]] double label_of(const Task& task, std::string_view text, const std::string& place);
// All of `text` as a finite number.
[[nodiscard]] std::optional<double> parse_number(std::string_view text);

// The largest share of one class among the rows, as accuracy; of scores: 0.
struct Majority {
  std::size_t label = 0;
  double share = 0.0;
};
[[nodiscard]] Majority majority_of(const Task& task, const std::vector<Row>& rows);

}  // namespace switchyard::glue
