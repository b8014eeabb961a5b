// Typed errors and the two checks of the code base.
//
// Libraries throw one of the types below; only `cli` maps a type to an exit code. Every message
// says what happened, where, what was expected; `hint` says what to do about it.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace switchyard {

// Base of every error thrown on purpose.
class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& what, std::string hint = {})
      : std::runtime_error(what), hint_(std::move(hint)) {}
  // What the user can do about it; empty when nothing is known.
  [[nodiscard]] const std::string& hint() const noexcept { return hint_; }

 private:
  std::string hint_;
};

// Wrong flag, wrong config, or a request that cannot be carried out as asked (exit 2).
class UsageError : public Error {
 public:
  using Error::Error;
};
// A data file, tokenizer or checkpoint does not hold what it must (exit 65).
class DataError : public Error {
 public:
  using Error::Error;
};
// There was less memory than was needed (exit 71).
class OutOfMemoryError : public Error {
 public:
  using Error::Error;
};
// The operating system refused to read, write, map or lock (exit 74).
class StorageError : public Error {
 public:
  using Error::Error;
};
// Loss or gradients stayed non-finite (exit 76).
class NonFiniteError : public Error {
 public:
  using Error::Error;
};
// Stopped by a signal after saving (exit 75).
class PreemptedError : public Error {
 public:
  using Error::Error;
};
// Another rank died, hangs or does not answer (exit 77).
class PeerError : public Error {
 public:
  using Error::Error;
};
// A broken invariant of our own: always a bug (exit 70).
class InternalError : public Error {
 public:
  using Error::Error;
};

namespace detail {
[[noreturn]] void throw_internal(const char* file, int line, const char* condition,
                                 const std::string& message);
}  // namespace detail

}  // namespace switchyard

// Checks an invariant of our own code; throws InternalError with file, line and condition.
#define SWITCHYARD_CHECK(condition, ...)                                   \
  do {                                                                     \
    if (!(condition)) {                                                    \
      ::switchyard::detail::throw_internal(__FILE__, __LINE__, #condition, \
                                           ::fmt::format(__VA_ARGS__));    \
    }                                                                      \
  } while (false)
