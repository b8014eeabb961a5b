#include "switchyard/core/process.h"

#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <exception>
#include <initializer_list>

#include "switchyard/core/exit_code.h"

namespace switchyard {
namespace {

void occupy_standard_descriptors() {
  while (true) {
    const int descriptor = ::open("/dev/null", O_RDONLY);
    if (descriptor > STDERR_FILENO) ::close(descriptor);
    if (descriptor < 0 || descriptor > STDERR_FILENO) return;
  }
}

[[noreturn]] void end_unhandled() {
  int code = kExitInternal;
  try {
    if (!std::current_exception()) {  // there was no memory to make one
      write_last_words("memory ran out");
      ::_exit(kExitOutOfMemory);
    }
    throw;
  } catch (const std::exception& error) {
    code = exit_code_of(error);
    write_last_words(code == kExitOutOfMemory ? "memory ran out" : error.what());
  } catch (...) {
    write_last_words("an exception of unknown type");
  }
  ::_exit(code);
}

}  // namespace

void set_up_process() {
  occupy_standard_descriptors();
  (void)std::signal(SIGXFSZ, SIG_IGN);
  std::set_terminate(&end_unhandled);
}

void take_no_signals() {
  sigset_t others;
  ::sigfillset(&others);
  // What the thread itself causes: blocked, they would end the process past their handlers.
  for (const int own : {SIGBUS, SIGSEGV, SIGFPE, SIGILL}) ::sigdelset(&others, own);
  ::pthread_sigmask(SIG_BLOCK, &others, nullptr);
}

void write_last_words(const char* text) noexcept {
  for (const char* part : {"switchyard: error: ", text, "\n"}) {
    if (::write(STDERR_FILENO, part, std::strlen(part)) < 0) return;
  }
}

}  // namespace switchyard
