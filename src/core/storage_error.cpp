#include "core/storage_error.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "switchyard/core/error.h"

namespace switchyard {

void throw_storage(const char* action, const std::filesystem::path& path, int error_number) {
  std::string hint;
  if (error_number == ENOSPC || error_number == EDQUOT) hint = "free some space on that disk";
  if (error_number == EFBIG) hint = "a limit on the size of files is set; `ulimit -f` shows it";
  if (error_number == EMFILE) hint = "a limit on open files is set; `ulimit -n` shows it";
  const std::string what =
      fmt::format("cannot {} {}: {}", action, path.string(), std::strerror(error_number));
  if (error_number == ENOMEM)
    throw OutOfMemoryError(what, "`ulimit -v` shows whether it is limited");
  throw StorageError(what, hint);
}

}  // namespace switchyard
