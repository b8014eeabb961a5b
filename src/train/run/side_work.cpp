#include "train/run/side_work.h"

#include <bit>

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
    const bool is_new = failures.last == nullptr;
    failures.last = std::current_exception();
    ++failures.count;
    // What fails at every step would bury everything else: the first time, and then the 2nd, 4th,
    // 8th and so on.
    if (is_new || std::has_single_bit(static_cast<std::uint64_t>(failures.count))) {
      log::warning("step {}: {} failed ({} so far): {}; no trained step is lost", step, kind,
                   counted(failures.count, "time"), ops::short_message(error));
    }
    return false;
  }
  if (failures.last) {
    log::info("step {}: {} works again, after {}", step, kind, counted(failures.count, "failure"));
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
