// What a run writes for people and programs to read: metrics.jsonl, TensorBoard events, samples,
// and the lines about them on the terminal and in the log. Only one rank of a run does so.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "switchyard/telemetry/metrics_writer.h"
#include "switchyard/telemetry/record.h"
#include "switchyard/telemetry/step_line.h"
#include "switchyard/telemetry/tensorboard_writer.h"
#include "switchyard/train/run_folder.h"

namespace switchyard::train {

class RunRecords {
 public:
  // `folder` must outlive this; nullptr on the ranks that write nothing: everything below then does
  // nothing. Throws StorageError, as all of it does.
  explicit RunRecords(const RunFolder* folder);

  // Records of later steps than `step` are void.
  void mark_resume(std::int64_t step);
  // Events of this session, from `first_step` on.
  void begin(std::int64_t first_step);
  void step(const telemetry::StepRecord& record, const telemetry::Progress& progress);
  void evaluation(const telemetry::EvaluationRecord& record, const std::string& verdict);
  void sample(std::int64_t step, const std::string& text) const;

 private:
  struct Files {
    explicit Files(const RunFolder& folder) : metrics(folder.metrics_file()) {}
    telemetry::MetricsWriter metrics;
    telemetry::StepLinePrinter printer;
    std::optional<telemetry::TensorBoardWriter> events;
  };
  const RunFolder* folder_;
  std::optional<Files> files_;
};

}  // namespace switchyard::train
