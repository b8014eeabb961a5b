#include "switchyard/core/error.h"

namespace switchyard::detail {

void throw_internal(const char* file, int line, const char* condition, const std::string& message) {
  throw InternalError(fmt::format("{}:{}: check failed: {}: {}", file, line, condition, message),
                      "this is a bug in Switchyard; please report it with the command and config");
}

}  // namespace switchyard::detail
