#include "switchyard/core/exit_code.h"

#include <filesystem>
#include <new>
#include <string>
#include <string_view>
#include <typeinfo>

#include "switchyard/core/error.h"
#include "switchyard/core/log.h"
#include "switchyard/core/out_of_memory_error.h"

namespace switchyard {

int exit_code_of(const std::exception& error) noexcept {
  if (dynamic_cast<const UsageError*>(&error) != nullptr) return kExitUsage;
  if (dynamic_cast<const DataError*>(&error) != nullptr) return kExitBadData;
  if (dynamic_cast<const OutOfMemoryError*>(&error) != nullptr) return kExitOutOfMemory;
  if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) return kExitOutOfMemory;
  if (dynamic_cast<const StorageError*>(&error) != nullptr) return kExitStorage;
  if (dynamic_cast<const std::filesystem::filesystem_error*>(&error) != nullptr) {
    return kExitStorage;
  }
  if (dynamic_cast<const PreemptedError*>(&error) != nullptr) return kExitPreempted;
  if (dynamic_cast<const NonFiniteError*>(&error) != nullptr) return kExitNonFinite;
  if (dynamic_cast<const PeerError*>(&error) != nullptr) return kExitPeer;
  return kExitInternal;
}

int report_error(const std::exception& error, bool debug) {
  const int code = exit_code_of(error);
  const bool is_bad_alloc = dynamic_cast<const std::bad_alloc*>(&error) != nullptr;
  std::string_view text = is_bad_alloc ? "memory ran out" : error.what();
  while (true) {
    const std::size_t end = text.find('\n');
    const std::string line(text.substr(0, end));
    if (code == kExitPreempted) {
      log::write_info(line);
    } else {
      log::write_error(line);
    }
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  const auto* typed = dynamic_cast<const Error*>(&error);
  if (typed != nullptr && !typed->hint().empty()) log::info("  hint: {}", typed->hint());
  if (debug) log::info("  thrown as {}, exit code {}", typeid(error).name(), code);
  return code;
}

}  // namespace switchyard
