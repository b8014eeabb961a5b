#include "train/run/run_records.h"

#include <fmt/format.h>

#include "switchyard/core/log.h"
#include "switchyard/inference/printable.h"

namespace switchyard::train {
namespace {

constexpr const char* kMetrics = "writing metrics.jsonl";
constexpr const char* kEvents = "writing TensorBoard events";

}  // namespace

RunRecords::RunRecords(const RunFolder* folder, SideWork& side_work)
    : folder_(folder), side_work_(side_work) {
  if (folder != nullptr) files_.emplace(*folder);
}

void RunRecords::mark_resume(std::int64_t step) {
  if (files_) files_->metrics.write({{"event", "resume"}, {"step", step}});
}

void RunRecords::begin(std::int64_t first_step) {
  if (files_) files_->events.emplace(folder_->path(), first_step);
}

template <typename Record>
void RunRecords::write(const Record& record) {
  side_work_.attempt(kMetrics, record.step,
                     [&] { files_->metrics.write(telemetry::to_json(record)); });
  side_work_.attempt(kEvents, record.step, [&] { files_->events->write(record); });
}

void RunRecords::step(const telemetry::StepRecord& record, const telemetry::Progress& progress) {
  if (!files_) return;
  write(record);
  files_->printer.print(telemetry::format_step_line(record, progress));
}

void RunRecords::evaluation(const telemetry::EvaluationRecord& record, const std::string& verdict) {
  if (!files_) return;
  write(record);
  log::write_info(telemetry::format_evaluation_line(record, verdict));
}

void RunRecords::sample(std::int64_t step, const std::string& text) const {
  if (!files_) return;
  folder_->write_sample(step, text + "\n");
  log::write_info(fmt::format("step {} sample: {}", step, inference::printable_text(text)));
}

void RunRecords::finish(std::int64_t step) {
  if (!files_) return;
  side_work_.attempt(kMetrics, step, [this] { files_->metrics.write_waiting(); });
  side_work_.attempt(kEvents, step, [this] { files_->events->write_waiting(); });
  side_work_.attempt("writing log.txt", step, [] { log::write_waiting_lines(); });
}

}  // namespace switchyard::train
