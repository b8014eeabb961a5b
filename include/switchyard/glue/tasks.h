// The tasks of GLUE (Wang et al., "GLUE: A Multi-Task Benchmark ...", ICLR 2019) as their official
// folders hold them: which files, which columns, which labels, which metrics.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace switchyard::glue {

enum class Metric { accuracy, f1, matthews_correlation, pearson, spearmanr };
[[nodiscard]] std::string metric_name(Metric metric);  // "matthews_correlation"

// Where a file has what: names of columns, or places where the file has no header.
struct Columns {
  std::string text_a;
  std::string text_b;  // empty: one sentence
  std::string label;   // empty: unlabelled
  std::string index;   // of submissions; empty: rows are counted from 0
};

// The columns of CoLA's train and dev files, which have no header.
struct HeaderlessColumns {
  std::size_t num_fields = 0;
  std::size_t label = 0;
  std::size_t text = 0;
};

struct File {
  std::string name;        // in the task's folder
  std::string suffix;      // of result keys: "" or "_mm"
  std::string submission;  // test files: "MNLI-mm.tsv"
  Columns columns;
};

struct Task {
  std::string name;    // "sst2", as on the command line
  std::string folder;  // "SST-2"
  std::vector<std::string>
      labels;                   // in the order of classes, as files spell them; of a score: none
  std::vector<Metric> metrics;  // the first decides which checkpoint is the best
  std::optional<double> highest_score = {};     // scores are from 0 to it; none: any number
  std::optional<HeaderlessColumns> headerless;  // of train and dev files
  File train;
  std::vector<File> dev;   // the first is judged
  std::vector<File> test;  // predicted for a submission; those beside the folder may be missing

  [[nodiscard]] bool is_regression() const { return labels.empty(); }
  [[nodiscard]] bool has_pairs() const { return !train.columns.text_b.empty(); }
  [[nodiscard]] std::size_t num_outputs() const { return labels.empty() ? 1 : labels.size(); }
};

// All nine, in the order of the benchmark's table. AX, which has no training rows, is a test file
// of mnli.
[[nodiscard]] std::span<const Task> all_tasks();
// "mrpc,qnli" or "all" (not "custom", which is no task of GLUE). Names are taken without regard to
// case and hyphens ("SST-2"). Throws UsageError for an unknown one, with the nearest, or for one
// that is there twice.
[[nodiscard]] std::vector<const Task*> parse_tasks(std::string_view list);

}  // namespace switchyard::glue
