// Faults in the file calls of this process: death before the n-th call, an error from it, or a
// write of which the disk keeps one bit wrong. The calls of the C library are replaced by the ones
// below wherever they are made, in our libraries and in the C++ library, so nothing has to be built
// into the code under test.
//
// Include from one file of a test binary only: it defines the functions.
#pragma once

#include <dlfcn.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstddef>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

namespace switchyard::testing {

struct FileFaults {
  enum class Kind { none, count, kill, error, short_writes, flipped_bit };
  Kind kind = Kind::none;
  int at = 0;     // the call that is hit, from 0
  int calls = 0;  // seen so far
  int error_number = 0;
  std::vector<std::string> seen = {};  // names, when counting

  // True when this call has to fail; does not return when it has to die.
  bool hits(const char* name) {
    if (kind == Kind::none || kind == Kind::short_writes) return false;
    const int call = calls++;
    if (kind == Kind::count) seen.emplace_back(name);
    if (call != at || kind == Kind::count || kind == Kind::flipped_bit) return false;
    if (kind == Kind::kill) ::raise(SIGKILL);
    errno = error_number;
    return true;
  }
};

inline FileFaults file_faults;

// In a child that dies at its call number `at`. False: it made fewer calls and ended in peace.
inline bool dies_at_call(int at, const std::function<void()>& action) {
  const pid_t child = ::fork();
  if (child == 0) {
    file_faults = {.kind = FileFaults::Kind::kill, .at = at};
    try {
      action();
    } catch (...) {
      ::_exit(1);
    }
    ::_exit(0);
  }
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  if (WIFSIGNALED(status)) {
    EXPECT_EQ(WTERMSIG(status), SIGKILL);
    return true;
  }
  EXPECT_EQ(WEXITSTATUS(status), 0);
  return false;
}

template <typename Function>
Function* real_function(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

}  // namespace switchyard::testing

extern "C" {

ssize_t write(int descriptor, const void* bytes, std::size_t size) {
  using switchyard::testing::file_faults;
  using switchyard::testing::FileFaults;
  static auto* const real =
      switchyard::testing::real_function<ssize_t(int, const void*, std::size_t)>("write");
  if (descriptor > 2) {  // messages are not files
    if (file_faults.kind == FileFaults::Kind::kill && file_faults.calls == file_faults.at &&
        size > 1) {
      (void)real(descriptor, bytes, size / 2);  // torn
    }
    const bool flips =
        file_faults.kind == FileFaults::Kind::flipped_bit && file_faults.calls == file_faults.at;
    if (file_faults.hits("write")) return -1;
    if (flips && size > 0) {
      std::vector<char> kept(static_cast<const char*>(bytes),
                             static_cast<const char*>(bytes) + size);
      kept[size / 2] = static_cast<char>(kept[size / 2] ^ 0x01);
      return real(descriptor, kept.data(), size);
    }
    if (file_faults.kind == FileFaults::Kind::short_writes && size > 1) size = (size + 1) / 2;
  }
  return real(descriptor, bytes, size);
}

int fsync(int descriptor) {
  static auto* const real = switchyard::testing::real_function<int(int)>("fsync");
  return switchyard::testing::file_faults.hits("fsync") ? -1 : real(descriptor);
}

int rename(const char* from, const char* to) noexcept {
  static auto* const real =
      switchyard::testing::real_function<int(const char*, const char*)>("rename");
  return switchyard::testing::file_faults.hits("rename") ? -1 : real(from, to);
}

int mkdir(const char* path, mode_t mode) noexcept {
  static auto* const real = switchyard::testing::real_function<int(const char*, mode_t)>("mkdir");
  return switchyard::testing::file_faults.hits("mkdir") ? -1 : real(path, mode);
}

int unlink(const char* path) noexcept {
  static auto* const real = switchyard::testing::real_function<int(const char*)>("unlink");
  return switchyard::testing::file_faults.hits("unlink") ? -1 : real(path);
}

int unlinkat(int folder, const char* path, int flags) noexcept {
  static auto* const real =
      switchyard::testing::real_function<int(int, const char*, int)>("unlinkat");
  return switchyard::testing::file_faults.hits("unlinkat") ? -1 : real(folder, path, flags);
}

int rmdir(const char* path) noexcept {
  static auto* const real = switchyard::testing::real_function<int(const char*)>("rmdir");
  return switchyard::testing::file_faults.hits("rmdir") ? -1 : real(path);
}

}  // extern "C"
