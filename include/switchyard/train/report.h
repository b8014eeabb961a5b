// The page about a run, written when the run ends.
#pragma once

#include <filesystem>

namespace switchyard::train {

// Writes a run's report.html when it goes out of scope: the run may end by finishing, a signal or
// an error. A page that cannot be written is a warning, not the run's failure.
class ReportAtEnd {
 public:
  explicit ReportAtEnd(std::filesystem::path run);
  ~ReportAtEnd();
  ReportAtEnd(const ReportAtEnd&) = delete;
  ReportAtEnd& operator=(const ReportAtEnd&) = delete;

 private:
  std::filesystem::path run_;
};

}  // namespace switchyard::train
