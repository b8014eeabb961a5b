// Something to look at while a run trains: what its task makes of it, in the run's records. One
// that fails costs a warning.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "switchyard/train/task.h"
#include "train/run/run_records.h"
#include "train/run/side_work.h"

namespace switchyard::train {

class RunSamples {
 public:
  // All must outlive this.
  RunSamples(Task& task, RunRecords& records, SideWork& side_work)
      : task_(task), records_(records), side_work_(side_work) {}

  // On the rank that has all experts. False where it failed, or should_stop cut it short.
  [[nodiscard]] bool make(const EvaluationOptions& options);
  // By the ranks that hold the experts between them. Outputs that are not finite end it on all of
  // them alike (RankShare); another error ends the run.
  [[nodiscard]] bool make_together(const EvaluationOptions& options);

 private:
  using Make = std::function<std::optional<std::string>()>;
  [[nodiscard]] bool keep(std::int64_t step, const Make& make);

  Task& task_;
  RunRecords& records_;
  SideWork& side_work_;
};

}  // namespace switchyard::train
