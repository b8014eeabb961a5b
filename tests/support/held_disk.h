// A slow or broken disk for checkpoints: while it is held, nothing that is written into a step's
// folder becomes durable. The C library's fsync is replaced by the one below, so that nothing has
// to be built into the code under test. Not in a test binary that has file_faults.h.
#pragma once

#include <dlfcn.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <string>
#include <thread>

namespace switchyard::testing {

struct HeldDisk {
  // Files of steps whose path holds `folder` and `file` wait in fsync until release(), or fail with
  // EIO.
  enum class Kind { passes, holds, fails, fails_once };
  static inline std::atomic<Kind> kind{Kind::passes};
  static inline std::string folder_part;  // set before `kind`
  static inline std::string file_part;
  static inline std::atomic<int> met{0};  // calls that waited or failed

  static void hold(const std::string& folder = "", const std::string& file = "") {
    set(Kind::holds, folder, file);
  }
  static void fail(const std::string& folder = "", const std::string& file = "") {
    set(Kind::fails, folder, file);
  }
  static void fail_once(const std::string& folder = "", const std::string& file = "") {
    set(Kind::fails_once, folder, file);
  }
  static void release() { kind = Kind::passes; }

  static int sync(int descriptor, int (*real)(int)) {
    if (kind == Kind::passes) return real(descriptor);
    std::error_code error;
    const std::string path =
        std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(descriptor), error)
            .string();
    if (path.find("checkpoints/.step-") == std::string::npos ||
        path.find(folder_part) == std::string::npos || path.find(file_part) == std::string::npos) {
      return real(descriptor);
    }
    ++met;
    while (kind == Kind::holds) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    if (kind == Kind::passes) return real(descriptor);
    if (kind == Kind::fails_once) release();
    errno = EIO;
    return -1;
  }

 private:
  static void set(Kind what, const std::string& folder, const std::string& file) {
    folder_part = folder;
    file_part = file;
    met = 0;
    kind = what;
  }
};

}  // namespace switchyard::testing

// Weak, so that several files of a test binary may include it.
extern "C" __attribute__((weak)) int fsync(int descriptor) {
  static auto* const real = reinterpret_cast<int (*)(int)>(::dlsym(RTLD_NEXT, "fsync"));
  return switchyard::testing::HeldDisk::sync(descriptor, real);
}
