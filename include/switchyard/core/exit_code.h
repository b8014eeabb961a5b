// Typed errors to exit codes and messages, the same in both executables. Only their main()s call
// this: libraries throw.
#pragma once

#include <exception>
#include <string>

namespace switchyard {

inline constexpr int kExitDone = 0;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitBadData = 65;
inline constexpr int kExitInternal = 70;
inline constexpr int kExitOutOfMemory = 71;
inline constexpr int kExitStorage = 74;
inline constexpr int kExitPreempted = 75;
inline constexpr int kExitNonFinite = 76;
inline constexpr int kExitPeer = 77;
inline constexpr int kExitFailedCheck = 78;

// Memory that ran out: OutOfMemoryError, and what the standard library throws for it, also for a
// thread that the system refuses to start.
[[nodiscard]] bool is_out_of_memory(const std::exception& error) noexcept;

// For people: what() of our own errors; of memory that ran out and of a file system that refuses,
// what that was.
[[nodiscard]] std::string words_of(const std::exception& error);

// Of other errors that are none of ours, those of the standard library's file system are storage;
// all others are internal.
[[nodiscard]] int exit_code_of(const std::exception& error) noexcept;

// Logs "switchyard: error: ..." for every line of what() and "  hint: ..."; with `debug` also the
// C++ type. A preempted run is no error, only a message. Returns the exit code.
int report_error(const std::exception& error, bool debug);

}  // namespace switchyard
