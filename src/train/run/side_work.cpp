#include "train/run/side_work.h"

#include "switchyard/core/log.h"
#include "switchyard/core/text.h"
#include "switchyard/ops/out_of_memory.h"

namespace switchyard::train {

bool SideWork::attempt(const std::string& kind, std::int64_t step,
                       const std::function<void()>& work) {
  Failures& failures = failures_of_kind_[kind];
  try {
    work();
  } catch (const std::exception& error) {
    failures.last = std::current_exception();
    ++failures.count;
    log::warning("step {}: {} failed ({} so far): {}; no trained step is lost", step, kind,
                 counted(failures.count, "time"), ops::short_message(error));
    return false;
  }
  failures.last = nullptr;
  return true;
}

void SideWork::check_last() const {
  for (const auto& [kind, failures] : failures_of_kind_) {
    if (failures.last) std::rethrow_exception(failures.last);
  }
}

}  // namespace switchyard::train
