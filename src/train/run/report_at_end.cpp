#include "train/run/report_at_end.h"

#include <filesystem>

#include "switchyard/core/log.h"
#include "switchyard/telemetry/report.h"

namespace switchyard::train {

ReportAtEnd::ReportAtEnd(const RunFolder& run, RunLoop& loop) : run_(run), loop_(loop) {}

ReportAtEnd::~ReportAtEnd() {
  loop_.side_work().attempt("writing report.html", loop_.step(), [this] {
    run_.check_in_place();
    const std::filesystem::path page = run_.path() / telemetry::kReportName;
    telemetry::write_report(run_.path(), page);
    log::info("report:  {}", page.string());
  });
}

}  // namespace switchyard::train
