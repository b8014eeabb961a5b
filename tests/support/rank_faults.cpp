// Linked into an engine of the tests: what becomes of a rank at one of its collectives, as
// SWITCHYARD_FAULT says: "OPERATION@RANK:N:KIND", at the N-th collective of that kind ("any" for
// all) that this rank enters. Kinds:
//   kill, stop   the signal
//   throw        an error, as if memory had run out
//   skip         the collective is left out
//   late         half a second passes first
#include <signal.h>
#include <unistd.h>

#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <thread>

#include "switchyard/comm/watched.h"
#include "switchyard/core/error.h"

namespace switchyard::comm {
namespace {

struct Fault {
  std::string operation;
  std::int64_t rank = -1;
  std::int64_t number = 0;
  std::string kind;
};

Fault parse(std::string_view text) {
  const std::size_t at = text.find('@');
  const std::size_t colon = text.find(':', at);
  const std::size_t last = text.rfind(':');
  Fault fault;
  const auto number = [&text](std::size_t begin, std::size_t end, std::int64_t& value) {
    const auto result = std::from_chars(text.data() + begin, text.data() + end, value);
    return result.ec == std::errc() && result.ptr == text.data() + end;
  };
  if (at == std::string_view::npos || colon == std::string_view::npos || last <= colon ||
      !number(at + 1, colon, fault.rank) || !number(colon + 1, last, fault.number)) {
    std::fprintf(stderr, "SWITCHYARD_FAULT: expected OPERATION@RANK:N:KIND\n");
    std::abort();
  }
  fault.operation = text.substr(0, at);
  fault.kind = text.substr(last + 1);
  return fault;
}

bool happens(const std::string& kind, std::string_view operation) {
  if (kind == "kill") ::kill(::getpid(), SIGKILL);
  if (kind == "stop") ::kill(::getpid(), SIGSTOP);
  // The signal is the process's: this thread, which is one of several, may go on for a moment.
  if (kind == "kill" || kind == "stop") std::this_thread::sleep_for(std::chrono::seconds(60));
  if (kind == "throw") throw OutOfMemoryError(fmt::format("no memory for {}", operation));
  if (kind == "late") std::this_thread::sleep_for(std::chrono::milliseconds(500));
  return kind != "skip";
}

const bool installed = [] {
  const char* const text = std::getenv("SWITCHYARD_FAULT");
  if (text == nullptr) return false;
  interfere([fault = parse(text), seen = std::int64_t{0}](
                std::int64_t rank, std::string_view operation, std::string_view /*name*/) mutable {
    if (rank != fault.rank || (operation != fault.operation && fault.operation != "any")) {
      return true;
    }
    return ++seen != fault.number || happens(fault.kind, operation);
  });
  return true;
}();

}  // namespace
}  // namespace switchyard::comm
