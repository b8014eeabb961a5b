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
#include "train/run/side_work.h"

namespace switchyard::train {

class RunRecords {
 public:
  // Both must outlive this. `folder` is nullptr on the ranks that write nothing: everything below
  // then does nothing. Throws StorageError.
  RunRecords(const RunFolder* folder, SideWork& side_work);

  // These two come before the first step, and throw StorageError.
  // Records of later steps than `step` are void.
  void mark_resume(std::int64_t step);
  // Events of this session, from `first_step` on.
  void begin(std::int64_t first_step);
  // What a full disk refuses of these is warned of, waits, and follows in order once there is room.
  void step(const telemetry::StepRecord& record, const telemetry::Progress& progress);
  void evaluation(const telemetry::EvaluationRecord& record, const std::string& verdict);
  // Throws StorageError when the file cannot be written.
  void sample(std::int64_t step, const std::string& text) const;
  // Tries once more to write what waits.
  void finish(std::int64_t step);

 private:
  struct Files {
    explicit Files(const RunFolder& folder) : metrics(folder.metrics_file()) {}
    telemetry::MetricsWriter metrics;
    telemetry::StepLinePrinter printer;
    std::optional<telemetry::TensorBoardWriter> events;
  };
  template <typename Record>
  void write(const Record& record);

  const RunFolder* folder_;
  SideWork& side_work_;
  std::optional<Files> files_;
};

}  // namespace switchyard::train
