// The page about a run, written when the run ends.
#pragma once

#include "switchyard/train/run_folder.h"
#include "train/run/run_loop.h"

namespace switchyard::train {

// Writes a run's report.html when it goes out of scope: the run may end by finishing, a signal or
// an error. A page that cannot be written counts among the failures of the loop's side work.
class ReportAtEnd {
 public:
  // Both must outlive this.
  ReportAtEnd(const RunFolder& run, RunLoop& loop);
  ~ReportAtEnd();
  ReportAtEnd(const ReportAtEnd&) = delete;
  ReportAtEnd& operator=(const ReportAtEnd&) = delete;

 private:
  const RunFolder& run_;
  RunLoop& loop_;
};

}  // namespace switchyard::train
