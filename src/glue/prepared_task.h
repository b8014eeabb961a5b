// A task's files, read and encoded, before anything is trained.
#pragma once

#include <filesystem>
#include <vector>

#include "glue/classification_task.h"
#include "glue/start.h"
#include "switchyard/glue/figures.h"
#include "switchyard/glue/rows.h"
#include "switchyard/glue/tasks.h"

namespace switchyard::glue {

struct PreparedTask {
  struct Test {
    File file;
    RowSet rows;
    EncodedSet encoded;
  };
  Task task;
  TaskData data;
  std::filesystem::path train_file;
  std::vector<RowSet> dev_rows;  // as Task::dev
  std::vector<Test> test;        // for a submission
  Conditions conditions;
};

// Throws as read_rows() and encode_rows() do. Tells what was left out and what was cut. Of the
// files for a submission only AX may be missing.
[[nodiscard]] PreparedTask prepare_task(const Task& task, const std::filesystem::path& folder,
                                        const Start& start, bool submission);
// The task of the user's own in `folder`; where the settings of `start` name no labels, they get
// those of the training rows. A test file may be missing. Throws as parse_custom_rows() does.
[[nodiscard]] PreparedTask prepare_custom_task(const std::filesystem::path& folder, Start& start,
                                               bool submission);

}  // namespace switchyard::glue
