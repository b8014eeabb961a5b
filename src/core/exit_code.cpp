#include "switchyard/core/exit_code.h"

#include <fmt/format.h>

#include <filesystem>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <typeinfo>

#include "switchyard/core/error.h"
#include "switchyard/core/log.h"
#include "switchyard/core/process.h"
#include "switchyard/core/text.h"

namespace switchyard {
namespace {

bool is_refused_thread(const std::exception& error) {
  const auto* system = dynamic_cast<const std::system_error*>(&error);
  return system != nullptr && system->code() == std::errc::resource_unavailable_try_again;
}

// The library's own words begin with its name for the call: "filesystem error: status: ...".
std::string words_of_files(const std::filesystem::filesystem_error& error) {
  std::string paths = printable_line(error.path1().string());
  if (!error.path2().empty()) paths += " or " + printable_line(error.path2().string());
  return fmt::format("cannot use {}: {}", paths.empty() ? "a file" : paths, error.code().message());
}

void log_error(const std::exception& error, int code, bool debug) {
  const std::string words = words_of(error);
  std::string_view text = words;
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
  if (typed != nullptr && !typed->hint().empty()) log::write_hint(typed->hint());
  if (debug) log::info("  thrown as {}, exit code {}", typeid(error).name(), code);
}

}  // namespace

std::string words_of(const std::exception& error) {
  if (dynamic_cast<const Error*>(&error) != nullptr) return error.what();
  if (is_refused_thread(error)) {
    return "a thread could not be started: memory or the number of processes is limited";
  }
  if (is_out_of_memory(error)) return "memory ran out";
  const auto* of_files = dynamic_cast<const std::filesystem::filesystem_error*>(&error);
  return of_files != nullptr ? words_of_files(*of_files) : error.what();
}

bool is_out_of_memory(const std::exception& error) noexcept {
  if (dynamic_cast<const OutOfMemoryError*>(&error) != nullptr) return true;
  if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) return true;
  // A container asked for more than addresses can name.
  if (dynamic_cast<const std::length_error*>(&error) != nullptr) return true;
  const auto* system = dynamic_cast<const std::system_error*>(&error);
  return is_refused_thread(error) ||
         (system != nullptr && system->code() == std::errc::not_enough_memory);
}

int exit_code_of(const std::exception& error) noexcept {
  if (is_out_of_memory(error)) return kExitOutOfMemory;
  if (dynamic_cast<const UsageError*>(&error) != nullptr) return kExitUsage;
  if (dynamic_cast<const DataError*>(&error) != nullptr) return kExitBadData;
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
  try {
    log_error(error, code, debug);
  } catch (...) {  // there is no memory for words either
    write_last_words(code == kExitOutOfMemory ? "memory ran out" : error.what());
  }
  return code;
}

}  // namespace switchyard
