#include "cli/engine/report_error.h"

#include <c10/util/Exception.h>

#include <string>

#include "switchyard/core/error.h"
#include "switchyard/core/exit_code.h"
#include "switchyard/ops/out_of_memory.h"

namespace switchyard::cli {

int report_any_error(const std::exception& error, bool debug) {
  if (dynamic_cast<const c10::Error*>(&error) == nullptr) return report_error(error, debug);
  if (ops::is_out_of_memory(error)) {
    return report_error(OutOfMemoryError("memory ran out: " + ops::short_message(error)), debug);
  }
  const std::string text = debug ? error.what() : ops::short_message(error);
  return report_error(InternalError("LibTorch: " + text, "--debug shows where"), debug);
}

}  // namespace switchyard::cli
