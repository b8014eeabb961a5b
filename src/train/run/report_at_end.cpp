#include "train/run/report_at_end.h"

#include <utility>

#include "switchyard/core/log.h"
#include "switchyard/telemetry/report.h"

namespace switchyard::train {

ReportAtEnd::ReportAtEnd(std::filesystem::path run, RunLoop& loop)
    : run_(std::move(run)), loop_(loop) {}

ReportAtEnd::~ReportAtEnd() {
  loop_.side_work().attempt("writing report.html", loop_.step(), [this] {
    const std::filesystem::path page = run_ / telemetry::kReportName;
    telemetry::write_report(run_, page);
    log::info("report:  {}", page.string());
  });
}

}  // namespace switchyard::train
