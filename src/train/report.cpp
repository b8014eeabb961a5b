#include "switchyard/train/report.h"

#include <exception>
#include <utility>

#include "switchyard/core/log.h"
#include "switchyard/telemetry/report.h"

namespace switchyard::train {

ReportAtEnd::ReportAtEnd(std::filesystem::path run) : run_(std::move(run)) {}

ReportAtEnd::~ReportAtEnd() {
  const std::filesystem::path page = run_ / telemetry::kReportName;
  try {
    telemetry::write_report(run_, page);
    log::info("report:  {}", page.string());
  } catch (const std::exception& error) {
    log::warning("no report was written: {}", error.what());
  }
}

}  // namespace switchyard::train
