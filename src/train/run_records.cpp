#include "train/run_records.h"

#include <fmt/format.h>

#include "switchyard/core/log.h"
#include "switchyard/inference/printable.h"

namespace switchyard::train {

RunRecords::RunRecords(const RunFolder* folder) : folder_(folder) {
  if (folder != nullptr) files_.emplace(*folder);
}

void RunRecords::mark_resume(std::int64_t step) {
  if (files_) files_->metrics.write({{"event", "resume"}, {"step", step}});
}

void RunRecords::begin(std::int64_t first_step) {
  if (files_) files_->events.emplace(folder_->path(), first_step);
}

void RunRecords::step(const telemetry::StepRecord& record, const telemetry::Progress& progress) {
  if (!files_) return;
  files_->metrics.write(telemetry::to_json(record));
  files_->events->write(record);
  files_->printer.print(telemetry::format_step_line(record, progress));
}

void RunRecords::evaluation(const telemetry::EvaluationRecord& record, const std::string& verdict) {
  if (!files_) return;
  files_->metrics.write(telemetry::to_json(record));
  files_->events->write(record);
  log::write_info(telemetry::format_evaluation_line(record, verdict));
}

void RunRecords::sample(std::int64_t step, const std::string& text) const {
  if (!files_) return;
  folder_->write_sample(step, text + "\n");
  log::write_info(fmt::format("step {} sample: {}", step, inference::printable_text(text)));
}

}  // namespace switchyard::train
