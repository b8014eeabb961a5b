// The page about a run, written when the run ends.
#pragma once

#include <filesystem>

#include "train/run/run_loop.h"

namespace switchyard::train {

// Writes a run's report.html when it goes out of scope: the run may end by finishing, a signal or
// an error. A page that cannot be written counts among the failures of the loop's side work.
class ReportAtEnd {
 public:
  // `loop` must outlive this.
  ReportAtEnd(std::filesystem::path run, RunLoop& loop);
  ~ReportAtEnd();
  ReportAtEnd(const ReportAtEnd&) = delete;
  ReportAtEnd& operator=(const ReportAtEnd&) = delete;

 private:
  std::filesystem::path run_;
  RunLoop& loop_;
};

}  // namespace switchyard::train
