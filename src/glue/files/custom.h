// `--task custom`: a task of the user's own, in tab-separated or JSON-lines files whose columns the
// configuration names (finetune.text_column and so on).
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "switchyard/config/config.h"
#include "switchyard/glue/rows.h"
#include "switchyard/glue/tasks.h"

namespace switchyard::glue {

inline constexpr const char* kCustom = "custom";

// The task as the configuration tells it, with the classes of finetune.labels. Metrics: accuracy,
// of two classes F1 of the second as well; of numbers Pearson's and Spearman's correlation.
// Throws UsageError when fewer than two classes, or one twice, are named, DataError for one that
// would break a table.
[[nodiscard]] Task custom_task(const config::FinetuneConfig& config);

// DIR/train.tsv or DIR/train.jsonl, and so on; none when neither is there. Throws UsageError when
// both are.
[[nodiscard]] std::optional<std::filesystem::path> custom_file(const std::filesystem::path& folder,
                                                               const std::string& part);

// Rows of a file; a name that ends in .jsonl is of JSON lines. Those of `Part::test` have no label,
// and the index of a column `index` where there is one. Throws DataError naming file and line for a
// missing column, a label that is none of the task's, or a file without rows.
[[nodiscard]] RowSet parse_custom_rows(std::string_view text, const std::string& name,
                                       const Task& task, const config::FinetuneConfig& config,
                                       Part part);

// The labels of a training file as finetune.labels holds them: numbers by value, names in the order
// of their bytes. Throws DataError for a file with one label alone, too many, or one with a comma.
[[nodiscard]] std::string labels_in(std::string_view text, const std::string& name,
                                    const config::FinetuneConfig& config);

}  // namespace switchyard::glue
